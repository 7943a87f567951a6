"""What those who run the app see of it: health, metrics, a line for each turn, and an end that lets replies finish."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from gradio_client import Client
from prometheus_client.parser import text_string_to_metric_families

from llama_ui.hosting import health
from llama_ui.llama_stack.connection import Connection
from tests.support.app_process import AppProcess
from tests.support.fake_stack import MODEL, FakeStack, Hold
from tests.support.page import ask, said, served

pytestmark = pytest.mark.loopback
SECONDS = 20.0
StartApp = Callable[..., AppProcess]


@pytest.fixture
def serve(stack: FakeStack) -> Iterator[Callable[..., str]]:
    with ExitStack() as cleanup:
        yield lambda **values: cleanup.enter_context(served(**{"base_url": stack.url} | values)).rstrip("/")


def turns(printed: str) -> list[dict[str, str]]:
    """The lines of turns, in logfmt."""
    lines = [line for line in printed.splitlines() if " event=turn " in f" {line} "]
    return [dict(pair.split("=", 1) for pair in line.split(" ")) for line in lines]


def measured(url: str) -> dict[tuple[str, ...], float]:
    """The metrics, by name and label."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    return {(it.name, *it.labels.values()): it.value for family in families for it in family.samples}


def test_it_says_that_it_lives_and_that_its_server_answers(serve: Callable[..., str]) -> None:
    url = serve()
    for path, told in (("healthz", "ok\n"), ("readyz", "ready\n")):
        answer = httpx.get(f"{url}/{path}", timeout=SECONDS)
        assert (answer.status_code, answer.text) == (200, told)


def test_it_lives_but_is_not_ready_while_its_server_is_gone(
    serve: Callable[..., str], stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CACHE_SECONDS", 0.0)
    url = serve()
    assert httpx.get(f"{url}/readyz").status_code == 200
    port = stack.port
    stack.stop()
    assert httpx.get(f"{url}/healthz").status_code == 200
    answer = httpx.get(f"{url}/readyz", timeout=SECONDS)
    assert (answer.status_code, answer.text) == (503, "not ready: NotListening\n")
    with FakeStack(port):
        assert httpx.get(f"{url}/readyz", timeout=SECONDS).status_code == 200


def test_it_is_not_ready_where_there_is_no_server_or_it_does_not_answer_in_time(
    serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch, stack: FakeStack
) -> None:
    monkeypatch.setattr("llama_ui.llama_stack.connection.DEFAULT_URLS", ())
    assert httpx.get(f"{serve(base_url=None, no_local=True)}/readyz").text == "not ready: NoServer\n"
    monkeypatch.setattr(health, "PATIENCE", 0.0)
    assert httpx.get(f"{serve()}/readyz").text == "not ready: TimedOut\n"


def test_however_often_it_is_asked_the_server_is_asked_once(serve: Callable[..., str], stack: FakeStack) -> None:
    url = serve()
    httpx.get(f"{url}/readyz")
    asked = len(stack.asked)
    with ThreadPoolExecutor(20) as pool:
        assert {answer.text for answer in pool.map(httpx.get, [f"{url}/readyz"] * 40)} == {"ready\n"}
    assert len(stack.asked) - asked <= 1


def test_each_turn_is_one_line_without_a_word_of_what_was_said(
    serve: Callable[..., str], stack: FakeStack, capfd: pytest.CaptureFixture[str]
) -> None:
    visitor = Client(serve(), verbose=False)
    visitor.predict("my secret", system_prompt="my prompt", api_name="/chat")
    stack.enqueue(status=500, body={"error": {"message": "boom"}})
    visitor.predict("my secret", api_name="/chat")
    hold = Hold()
    reply = stack.enqueue("half ", hold)
    job = visitor.submit("my secret", api_name="/chat")
    assert hold.reached.wait(SECONDS)
    job.cancel()
    assert reply.ended.wait(SECONDS)
    visitor.predict("", api_name="/chat")  # refused before anything is sent: no turn
    visitor.predict("my secret", api_name="/chat")
    printed = capfd.readouterr().err
    for word in ("my secret", "my prompt", "Hello", "boom", "half"):
        assert word not in printed
    answered, failed, *_ = lines = turns(printed)
    assert [line["outcome"] for line in lines] == ["answered", "failed", "stopped", "answered"]
    assert failed["kind"] == "BadReply"
    assert {line["model"] for line in lines} == {MODEL}
    assert len({line["id"] for line in lines}) == 4
    assert (answered["prompt_tokens"], answered["completion_tokens"]) == ("7", "3")
    assert float(answered["seconds"]) >= float(answered["first"]) >= 0
    assert answered["ts"].endswith("Z")


def test_the_key_is_in_no_line_of_the_log(
    serve: Callable[..., str], stack: FakeStack, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not when it is refused, nor when the server repeats it, nor with all that is said."""
    key = "s3cr3t-k3y-0f-the-server"
    url = serve(api_key=key, log_content=True)
    for body in ({"error": {"message": f"Incorrect API key provided: {key}"}}, f"<html>{key}</html>"):
        stack.enqueue(status=401, body=body)
        assert key not in ask(url, "Hi")
    assert stack.keys[-1] == f"Bearer {key}"
    printed = capfd.readouterr()
    assert printed.err.count("outcome=failed") == 2
    assert key not in printed.out + printed.err + caplog.text


def test_a_turn_can_be_logged_as_json_and_with_what_was_said(
    serve: Callable[..., str], stack: FakeStack, capfd: pytest.CaptureFixture[str]
) -> None:
    stack.enqueue("Hello\x1b[31m there.")
    visitor = Client(serve(log_format="json", log_content=True), verbose=False)
    visitor.predict('say "é"\n', system_prompt="Be brief.", api_name="/chat")
    (line,) = [line for line in capfd.readouterr().err.splitlines() if '"turn"' in line]
    told = json.loads(line)
    assert told["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": 'say "é"\n'},
    ]
    assert "é" in line and told["reply"] == "Hello\ufffd[31m there."
    assert (told["outcome"], told["model"], told["prompt_tokens"], told["estimated"]) == ("answered", MODEL, 7, False)


def test_a_model_s_name_cannot_forge_a_line_of_the_log(
    serve: Callable[..., str], stack: FakeStack, capfd: pytest.CaptureFixture[str]
) -> None:
    Client(serve(), verbose=False).predict("Hi", model="x\nevent=turn id=forged", api_name="/chat")
    lines = [line for line in capfd.readouterr().err.splitlines() if "forged" in line]
    assert len(lines) == 1 and lines[0].startswith("ts=") and "outcome=failed" in lines[0]


def test_libraries_and_errors_are_logged_as_json_too_where_turns_are() -> None:
    code = "import logging; from llama_ui.core.logs import configure, log_unexpected; configure('json')\n"
    code += "try: 1 / 0\nexcept ZeroDivisionError: print(log_unexpected('testing', 'abc'))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = json.loads(ran.stderr)
    assert told["level"] == "error" and "abc" in told["event"] and "ZeroDivisionError" in told["exception"]
    assert ran.stdout == "Something went wrong in this app (error abc). Try again.\n"


def test_metrics_count_turns_failures_times_and_who_is_there(serve: Callable[..., str], stack: FakeStack) -> None:
    url = serve(max_visitors=1)
    visitor = Client(url, verbose=False)
    visitor.predict("Hi", api_name="/chat")
    stack.enqueue(status=500, body={"error": {"message": "boom"}})
    visitor.predict("Hi", api_name="/chat")
    hold = Hold()
    stack.enqueue("half ", hold, "whole")
    job = visitor.submit("Hi", api_name="/chat")
    assert hold.reached.wait(SECONDS)
    other = Client(url, verbose=False)
    waiting = other.submit("Hi", api_name="/chat")
    assert "number 1 in line" in said(next(iter(waiting)))
    with httpx.stream("GET", f"{url}/gradio_api/heartbeat/a-session") as page:  # as an open page has it
        beats = page.iter_text()
        assert "ALIVE" in next(beats)
        found = measured(url)
    assert found["llama_ui_replies",] == 1 and found["llama_ui_waiting",] == 1 and found["llama_ui_visitors",] >= 1
    hold.release.set()
    job.result(SECONDS)
    waiting.result(SECONDS)
    found = measured(url)
    assert found["llama_ui_turns_total", "answered"] == 3 and found["llama_ui_turns_total", "failed"] == 1
    assert found["llama_ui_failures_total", "BadReply"] == 1
    assert found["llama_ui_time_to_first_token_seconds_count",] == 3
    assert 1 <= found["llama_ui_tokens_per_second_count",] <= 3  # not for replies that come all at once
    assert found["llama_ui_replies",] == 0 and found["llama_ui_waiting",] == 0
    assert MODEL not in httpx.get(f"{url}/metrics").text


def test_an_unforeseen_failure_gives_the_visitor_an_id_and_the_log_the_rest(
    serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("llama_ui.llama_stack.connection.Connection.resolve_model", broken)
    shown = said(Client(serve(), verbose=False).predict("Hi", api_name="/chat"))
    reference = shown.split("(error ")[1].split(")")[0]
    assert "secret" not in shown and len(reference) == 8
    assert reference in caplog.text and "a secret detail" in caplog.text


def test_looking_whether_it_is_ready_makes_no_failed_attempt_again_at_once(
    serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might start the local stack each time, and anybody can look."""
    monkeypatch.setattr(health, "CACHE_SECONDS", 0.0)
    monkeypatch.setattr("llama_ui.llama_stack.connection.DEFAULT_URLS", ())
    attempts = []
    attempt = Connection._run
    monkeypatch.setattr(Connection, "_run", lambda *given: (attempts.append(given), attempt(*given)))
    url = serve(base_url=None, no_local=True)
    assert {httpx.get(f"{url}/readyz").text for _ in range(5)} == {"not ready: NoServer\n"}
    assert len(attempts) == 1
    monkeypatch.setattr("llama_ui.llama_stack.connection.RETRY", 0.0)
    httpx.get(f"{url}/readyz")
    assert len(attempts) == 2
