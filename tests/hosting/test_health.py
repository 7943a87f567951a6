"""What an operator sees: /healthz, /readyz and /metrics, the log, and a shutdown that lets replies finish."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from llama_ui.hosting import health
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from tests.support.app_process import AppProcess
from tests.support.fake_stack import FakeStack, Hold
from tests.support.page import served

pytestmark = pytest.mark.loopback
SECONDS = 20.0
StartApp = Callable[..., AppProcess]


@asynccontextmanager
async def routes(**values: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the routes alone, in this event loop, once the server is known or known to be missing."""
    settings = Settings(**values)
    connection = Connection(settings)
    app = Starlette(routes=health.routes(connection, Turns(settings, connection)))
    await asyncio.wait([asyncio.wrap_future(connection.start())])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as http:
        yield http
    connection.close()


async def test_the_app_is_alive_but_not_ready_while_its_server_is_down(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CACHE_SECONDS", 0.0)
    async with routes(base_url=stack.url) as http:
        assert (await http.get("/readyz")).text == "ready\n"
        stack.stop()
        assert (await http.get("/healthz")).text == "ok\n"
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "not ready: NotListening\n")
        with FakeStack(stack.port):
            assert (await http.get("/readyz")).status_code == 200


async def test_the_app_is_not_ready_without_a_server_or_with_one_that_does_not_answer_in_time(
    monkeypatch: pytest.MonkeyPatch, stack: FakeStack
) -> None:
    monkeypatch.setattr("llama_ui.llama_stack.connection.DEFAULT_URLS", ())
    async with routes(no_local=True) as http:
        assert (await http.get("/readyz")).text == "not ready: NoServer\n"
    monkeypatch.setattr(health, "CHECK_TIMEOUT", 0.0)
    async with routes(base_url=stack.url) as http:
        assert (await http.get("/readyz")).text == "not ready: TimedOut\n"


async def test_many_readiness_checks_at_once_are_one_request_to_the_server(stack: FakeStack) -> None:
    async with routes(base_url=stack.url) as http:
        answers = await asyncio.gather(*(http.get("/readyz") for _ in range(40)))
    assert {answer.text for answer in answers} == {"ready\n"}
    assert stack.asked.count("GET /v1/models") == 1


async def test_readiness_checks_do_not_repeat_a_failed_connection_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt might start the local stack, and anybody may check."""
    monkeypatch.setattr(health, "CACHE_SECONDS", 0.0)
    monkeypatch.setattr("llama_ui.llama_stack.connection.DEFAULT_URLS", ())
    attempts = []
    attempt = Connection._run
    monkeypatch.setattr(Connection, "_run", lambda *args: (attempts.append(args), attempt(*args)))
    async with routes(no_local=True) as http:
        assert {(await http.get("/readyz")).text for _ in range(5)} == {"not ready: NoServer\n"}
        assert len(attempts) == 1
        monkeypatch.setattr("llama_ui.llama_stack.connection.RETRY", 0.0)
        await http.get("/readyz")
    assert len(attempts) == 2


def measured(url: str) -> dict[tuple[str, ...], float]:
    """Returns the metrics of an app by name and label values."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_metrics_count_the_open_pages(stack: FakeStack) -> None:
    with (
        served(base_url=stack.url) as url,
        httpx.stream("GET", f"{url}gradio_api/heartbeat/a-session", timeout=SECONDS) as page,
    ):
        beats = page.iter_text()  # dropping it would close the stream
        assert "ALIVE" in next(beats)
        assert measured(url.rstrip("/"))["llama_ui_visitors",] == 1


def test_every_log_line_is_json_and_none_has_the_key(start_app: StartApp, stack: FakeStack) -> None:
    """Lines of the web server, of Gradio and of the app, also where the server repeats the key."""
    key = stack.key = "s3cr3t-k3y-0f-the-server"
    arguments = ("--base-url", stack.url, "--host", "127.0.0.1", "--log-format", "json", "--log-content")
    app = start_app(*arguments, LLAMA_STACK_CLIENT_API_KEY=key, SYSTEM="spaces")
    app.await_line("Server: ")
    start = len(app.output)
    assert "LLAMA_UI_AUTH" in "".join(app.output)  # on a Space the warning names the secret to set
    with socket.create_connection(("127.0.0.1", app.port), SECONDS) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert b" 400 " in connection.recv(1000)
    assert httpx.post(f"{app.url}/gradio_api/call/nothing", json={"data": []}).status_code == 500
    for body in ({"error": {"message": f"Incorrect API key provided: {key}"}}, f"<html>{key}</html>"):
        stack.enqueue(status=401, body=body)
        assert key not in reply_to_hi(app.url)
        app.await_line('"outcome": "failed"')
    lines = [json.loads(line) for line in app.output[start:]]
    assert {line.get("logger") for line in lines} == {"uvicorn.error", "llama_ui.core.logs", None}
    assert stack.keys[-1] == f"Bearer {key}"
    assert key not in "".join(app.output)


def reply_to_hi(url: str) -> str:
    """All events of a reply, as a program reads them."""
    with httpx.Client(timeout=40.0, trust_env=False) as http:
        event = http.post(f"{url}/gradio_api/call/chat", json={"data": ["Hi"]}).json()["event_id"]
        return http.get(f"{url}/gradio_api/call/chat/{event}").text


@contextmanager
def half_a_reply(
    start_app: StartApp, stack: FakeStack, *arguments: str
) -> Iterator[tuple[AppProcess, Hold, Future[str]]]:
    """An app in the middle of a reply, the hold before the rest of it, and what the visitor receives."""
    app = start_app("--base-url", stack.url, *arguments)
    app.await_line("Server: ")
    hold = Hold()
    stack.enqueue("half ", hold, "whole")
    with ThreadPoolExecutor() as pool:
        reply = pool.submit(reply_to_hi, app.url)
        assert hold.reached.wait(SECONDS)
        try:
            yield app, hold, reply
        finally:
            hold.release.set()


def test_sigterm_lets_running_replies_finish_and_refuses_new_messages(start_app: StartApp, stack: FakeStack) -> None:
    with half_a_reply(start_app, stack) as (app, hold, reply):
        app.process.send_signal(signal.SIGTERM)
        app.await_line("Ending, as soon as the replies")
        answer = httpx.get(app.url)
        assert answer.status_code == 503 and "being restarted" in answer.text
        assert httpx.get(f"{app.url}/healthz").is_success
        assert httpx.get(f"{app.url}/readyz").text == "not ready: Restarting\n"
        assert "This app is being restarted. Send it again in a minute." in reply_to_hi(app.url)
        hold.release.set()
        assert "half whole" in reply.result(SECONDS)
    assert app.process.wait(SECONDS) == 0
    assert len(stack.requests) == 1
    assert "--auth" not in "".join(app.output)  # the warning is for public apps only


def test_sigterm_waits_until_a_slow_reader_has_the_whole_reply(start_app: StartApp, stack: FakeStack) -> None:
    app = start_app("--base-url", stack.url, "--trusted-proxies", "127.0.0.1")
    app.await_line("Server: ")
    assert "--auth FILE" in "".join(app.output)  # a warning, for whoever shares the page
    stack.enqueue("much " * 1_000_000, "and last")
    event = httpx.post(f"{app.url}/gradio_api/call/chat", json={"data": ["Hi"]}).json()["event_id"]
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        slow.settimeout(SECONDS)
        slow.connect(("127.0.0.1", app.port))
        slow.sendall(f"GET /gradio_api/call/chat/{event} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        app.await_line("event=turn .*outcome=answered")
        app.process.send_signal(signal.SIGTERM)
        app.await_line("Ending, as soon as the replies")
        end = b""
        while b"0\r\n\r\n" not in end and (part := slow.recv(1_000_000)):
            end = end[-1000:] + part
        assert b"and last" in end and end.endswith(b"\r\n0\r\n\r\n")
    assert app.process.wait(SECONDS) == 0


def test_a_second_sigterm_ends_replies_with_a_sentence(start_app: StartApp, stack: FakeStack) -> None:
    with half_a_reply(start_app, stack) as (app, _, reply):
        app.process.send_signal(signal.SIGTERM)
        app.await_line("Ending, as soon as the replies")
        app.process.send_signal(signal.SIGTERM)
        end = reply.result(SECONDS).rpartition("data: ")[2]
        app.await_line("event=turn .*outcome=failed kind=Restarting")
        assert app.process.wait(SECONDS) == 0
    assert "half " in end and "ended before the reply was complete. Try again in a minute." in end
    assert len([line for line in app.output if "event=turn" in line]) == 1


def test_sigterm_after_ctrl_c_ends_the_app_without_a_traceback(start_app: StartApp, stack: FakeStack) -> None:
    with half_a_reply(start_app, stack) as (app, *_):
        app.process.send_signal(signal.SIGINT)
        with suppress(httpx.TransportError):  # it may have ended already
            while httpx.get(app.url).is_success:
                pass
        app.process.send_signal(signal.SIGTERM)
        assert app.process.wait(SECONDS) == 0
    app.await_line("event=turn")
    assert "Traceback" not in "".join(app.output)
