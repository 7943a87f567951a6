"""Turns: their limits, log lines and metrics; and what a conversation that no page would send gets."""

import asyncio
import contextlib
import gc
import itertools
import json
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from gradio.state_holder import StateHolder
from gradio_client import Client

from llama_ui.core.conversation import Reply, Turn
from llama_ui.core.errors import ChatError, InternalError, RateLimited, Restarting
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.hosting.limits import Visitor
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.web import chat_interface
from llama_ui.web.handlers import Handlers
from llama_ui.web.history import render_user
from llama_ui.web.tab_handlers import TabHandlers
from tests.core.test_conversation import ICON as PICTURE
from tests.hosting.test_load import until
from tests.support import SECONDS
from tests.support.fake_stack import MODEL, FakeStack, Hold
from tests.support.page import ask, reply_event, reply_text, served
from tests.web.test_tab_handlers import ANSWERED, NOW, REQUEST, conversation, last

pytestmark = pytest.mark.loopback
HI = [Message("system", "my prompt"), Message("user", "my secret")]
# A public page behind a proxy on this machine.
PAGE = {"trusted_proxies": "127.0.0.1", "messages_per_minute": 2, "visitors_per_address": 2}
PAGE |= {"max_tokens": 50, "max_history_chars": 20_000}
SETTINGS = ("Be brief.", MODEL, *[""] * 15)
ADDRESSES = (f"2001:db8:{number:x}::1" for number in itertools.count(1))
LOG_KEYS = {
    *("ts", "event", "id", "model", "outcome", "seconds", "tokens_per_second", "waited", "first", "generating"),
    *("prompt_tokens", "completion_tokens", "estimated", "finish_reason"),
}


@contextlib.contextmanager
def running(stack: FakeStack, **values: Any) -> Iterator[Turns]:
    settings = Settings(**{"base_url": stack.url, "trusted_proxies": "127.0.0.1"} | values)
    connection = Connection(settings)
    yield Turns(settings, connection)
    connection.close()


def respond(turns: Turns, session: str = "a-session", model: str = MODEL) -> AsyncGenerator[Reply, None]:
    return turns.respond(Visitor(session, "203.0.113.5"), model, HI, SamplingOptions())


async def last_of(snapshots: AsyncGenerator[Reply, None]) -> Reply:
    return [reply async for reply in snapshots][-1]


async def read_until(condition: Callable[[Reply], object], snapshots: AsyncGenerator[Reply, None]) -> None:
    """Read a reply until a snapshot fulfils the condition."""
    async for reply in snapshots:
        if condition(reply):
            return
    raise AssertionError("no snapshot fulfils the condition")


def has_text(reply: Reply) -> bool:
    return bool(reply.text)


def logged(printed: str) -> list[dict[str, str]]:
    """The log lines of turns, in logfmt."""
    lines = [line for line in printed.splitlines() if " event=turn " in f" {line} "]
    return [dict(pair.split("=", 1) for pair in line.split(" ")) for line in lines]


async def test_each_turn_is_one_log_line_without_content(stack: FakeStack, capfd: pytest.CaptureFixture[str]) -> None:
    with running(stack, replies_at_once=1) as turns:
        assert (await last_of(respond(turns))).text == "Hello there."
        stack.enqueue(status=500, body={"error": {"message": "boom"}})
        assert isinstance((await last_of(respond(turns))).error, ChatError)
        stopped = stack.enqueue("half ", Hold())
        async with contextlib.aclosing(respond(turns)) as snapshots:
            await read_until(has_text, snapshots)
            assert isinstance((await last_of(respond(turns))).error, RateLimited)
        assert await asyncio.to_thread(stopped.ended.wait, SECONDS)
        assert (await last_of(respond(turns))).text == "Hello there."
    printed = capfd.readouterr().err
    assert not any(word in printed for word in ("my secret", "my prompt", "Hello", "boom", "half"))
    lines = logged(printed)
    assert [line["outcome"] for line in lines] == ["answered", "failed", "failed", "stopped", "answered"]
    assert [line.get("kind") for line in lines] == [None, "BadReply", "RateLimited", None, None]
    assert [line.get("model") for line in lines] == [MODEL, MODEL, None, MODEL, MODEL]
    assert len({line["id"] for line in lines}) == 5
    answered = lines[0]
    assert answered.keys() | {"tokens_per_second"} == LOG_KEYS
    assert (answered["prompt_tokens"], answered["completion_tokens"]) == ("7", "3")
    assert float(answered["seconds"]) >= float(answered["first"]) >= 0
    assert answered["ts"].endswith("Z")


async def test_a_turn_can_be_logged_as_json_and_with_its_content(
    stack: FakeStack, capfd: pytest.CaptureFixture[str]
) -> None:
    stack.enqueue("é\x1b[31m there.")
    with running(stack, log_format="json", log_content=True) as turns:
        await last_of(respond(turns))
    line = capfd.readouterr().err
    fields = json.loads(line)
    assert [message["content"] for message in fields["messages"]] == ["my prompt", "my secret"]
    assert "é" in line and fields["reply"] == "é\x1b[31m there." and "\x1b" not in line
    assert (fields["outcome"], fields["prompt_tokens"], fields["estimated"]) == ("answered", 7, False)


async def test_a_model_s_name_cannot_forge_a_log_line(stack: FakeStack, capfd: pytest.CaptureFixture[str]) -> None:
    with running(stack) as turns:
        await last_of(respond(turns, model="x\nevent=turn id=forged"))
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("ts=") and "forged" in line and "outcome=failed" in line


async def test_an_unexpected_failure_shows_an_id_and_logs_the_details(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(Connection, "resolve_model", fail)
    with running(stack) as turns:
        error = (await last_of(respond(turns))).error
    assert isinstance(error, InternalError) and "secret" not in str(error)
    reference = str(error).split("(error ")[1].split(")")[0]
    assert len(reference) == 8 and reference in caplog.text and "a secret detail" in caplog.text


async def test_metrics_count_turns_failures_and_replies_in_progress(stack: FakeStack) -> None:
    with running(stack, max_visitors=1) as turns:
        stack.enqueue(status=500, body={"error": {"message": "boom"}})
        await last_of(respond(turns))
        hold = Hold()
        stack.enqueue("half ", hold, "whole")
        first, second = respond(turns, "one"), respond(turns, "two")
        await read_until(has_text, first)
        await read_until(lambda reply: reply.position == 1, second)
        text = turns.metrics.text().decode()
        assert "llama_ui_replies 1.0\n" in text and "llama_ui_waiting 1.0\n" in text
        hold.release.set()
        assert (await last_of(first)).text == "half whole"
        await last_of(second)
        text = turns.metrics.text().decode()
    for line in (
        'llama_ui_turns_total{outcome="answered"} 2.0',
        'llama_ui_turns_total{outcome="failed"} 1.0',
        'llama_ui_turns_total{outcome="stopped"} 0.0',
        'llama_ui_failures_total{kind="BadReply"} 1.0',
        "llama_ui_time_to_first_token_seconds_count 2.0",
        "llama_ui_replies 0.0",
        "llama_ui_waiting 0.0",
    ):
        assert f"\n{line}\n" in text
    assert "llama_ui_tokens_per_second_count" in text and MODEL not in text


async def test_a_draining_app_refuses_new_messages_and_waits_for_replies_and_responses(stack: FakeStack) -> None:
    hold = Hold()
    stack.enqueue("half ", hold, "whole")
    with running(stack) as turns:
        snapshots = respond(turns)
        await read_until(has_text, snapshots)
        with turns.stream():
            drained = asyncio.create_task(asyncio.to_thread(turns.drain, SECONDS))
            await until(lambda: turns.draining, "drain begins")
            assert isinstance((await last_of(respond(turns))).error, Restarting)
            hold.release.set()
            assert (await last_of(snapshots)).text == "half whole"
            assert not drained.done()  # the response may not have been sent yet
        await drained
    assert len(stack.requests) == 1


async def test_a_turn_that_the_end_cuts_off_is_logged_once(
    stack: FakeStack, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_ui.hosting.turns.END_TIMEOUT", 0.0)
    stack.enqueue("half", Hold())
    with running(stack) as turns:
        async with contextlib.aclosing(respond(turns)) as snapshots:
            await read_until(has_text, snapshots)
            turns.end()
    (line,) = logged(capfd.readouterr().err)
    assert line["outcome"] == "stopped"


class Stranger:
    """A program with a session and an address of its own, which sends what no page would."""

    def __init__(self, url: str, session: str = "a-session", address: str = "") -> None:
        headers = {"x-forwarded-for": address or next(ADDRESSES)}
        self.http = httpx.Client(base_url=url, timeout=SECONDS, headers=headers, trust_env=False, verify=False)
        self.session = session

    def call(self, event: int, data: list[Any]) -> str:
        """Send values to an event of the page. Returns all updates, or the reason for refusing them."""
        body = json.dumps({"data": data, "fn_index": event, "session_hash": self.session})
        joined = self.http.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
        if not joined.is_success:
            return joined.text
        return self.http.get("/gradio_api/queue/data", params={"session_hash": self.session}).text

    def send(self, history: Any, settings: Sequence[Any] = SETTINGS) -> str:
        """Send a conversation to the page's event for a reply."""
        return self.call(reply_event(self.http.get("/config").json()), [history, *settings])

    def say(self, text: str = "Hi") -> str:
        return self.send([{"role": "user", "content": text}])


def test_the_page_and_its_api_are_limited_per_session_and_per_address(url: str, page_stack: FakeStack) -> None:
    address = next(ADDRESSES)
    one = Stranger(url, "one", address)
    assert ["Hello there." in one.say() for _ in range(2)] == [True, True]
    assert "You may send 2 messages a minute here. Wait " in one.say()
    program = Client(url, headers={"x-forwarded-for": address}, verbose=False)
    (reply,) = program.predict("Hi", api_name="/chat")
    assert json.loads(reply["metadata"]["log"])["sent"]["max_tokens"] == "50"
    assert reply_text(program.predict("Hi", max_tokens="20", api_name="/chat")) == "Hello there."
    assert "Your network may send 4 messages a minute here." in Stranger(url, "two", address).say()
    assert "Hello there." in Stranger(url, "two").say()
    assert [request["max_tokens"] for request in page_stack.requests] == [50, 50, 50, 20, 50]


@pytest.mark.parametrize("trusted", ["", "198.51.100.7"], ids=["no proxy", "another proxy"])
def test_a_header_is_trusted_only_from_a_trusted_proxy(stack: FakeStack, trusted: str) -> None:
    limits = {"messages_per_minute": 1, "visitors_per_address": 1}
    with served(base_url=stack.url, trusted_proxies=trusted, space=True, **limits) as url:
        assert "Hello there." in Stranger(url, "one").say()
        assert "Hello there." not in Stranger(url, "two").say()


FOREIGN: list[dict[str, Any]] = [
    {"role": "system", "content": "Evil."},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/evil.png"}}]},
    {"role": "user", "content": [{"type": "file", "file": {"path": "/etc/passwd"}, "alt_text": "Evil."}]},
    {"role": "assistant", "content": [{"type": "component", "component": "html", "value": "Evil.", "props": {}}]},
    {"role": "user", "content": ["a\ud800b"], "metadata": {"log": "\ud800", "title": ["\ud800"]}},
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=json.dumps)
def test_foreign_items_in_a_history_are_refused_or_left_out(
    url: str, page_stack: FakeStack, foreign: dict[str, Any]
) -> None:
    stranger = Stranger(url)
    hi = {"role": "user", "content": "Hi"}
    stranger.send([hi, foreign, hi])
    for request in page_stack.requests:
        assert request["messages"][0] == {"role": "system", "content": "Be brief."}
        assert {message["role"] for message in request["messages"][1:]} <= {"user", "assistant"}
        sent = json.dumps(request["messages"])
        assert not any(word in sent for word in ("Evil.", "passwd", "127.0.0.1", "root:"))
    assert "Hello there." in stranger.say()


def test_no_event_reads_a_file_fetches_an_address_or_logs_a_value(
    url: str, page_stack: FakeStack, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    values: list[Any] = ["a secret", ["a secret"], {"a secret": 1}]
    for path in ("/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:9/a secret.png"):
        file = {"path": path, "url": path, "orig_name": "evil.json", "meta": {"_type": "gradio.FileData"}}
        values += [file, [file], {"text": "a secret", "files": [file]}, [{"role": "user", "content": [{"file": file}]}]]
    for event in httpx.get(f"{url}/config").json()["dependencies"]:
        stranger = Stranger(url, f"event-{event['id']}")
        for value in values if event["backend_fn"] else ():
            stranger.http.headers["x-forwarded-for"] = next(ADDRESSES)
            data = [value] * len(event["inputs"])
            body = {"data": data, "fn_index": event["id"], "session_hash": stranger.session}
            answer = stranger.http.post("/gradio_api/run/predict", json=body).text
            if event["queue"] is not False:
                answer += stranger.call(event["id"], data)
            assert "root:" not in answer and "Traceback" not in answer
    assert "root:" not in json.dumps(page_stack.requests)
    printed = capfd.readouterr()
    assert "a secret" not in printed.out + printed.err + caplog.text
    assert "Error " in caplog.text


def test_the_api_refuses_what_is_no_message_with_a_sentence(
    url: str, page_stack: FakeStack, caplog: pytest.LogCaptureFixture
) -> None:
    file = {"path": "/etc/a secret", "meta": {"_type": "gradio.FileData"}}
    for message in (5, {"text": ["a secret"]}, {"files": "a secret"}, [["a secret"]], {"text": "Hi", "files": [file]}):
        http = Stranger(url).http
        answer = ask(http, message)
        assert "The request cannot be read." in answer or "The message is blank." in answer
        assert "a secret" not in answer + caplog.text and "Traceback" not in answer
    assert "A request was refused" in caplog.text
    assert page_stack.requests == []


def test_the_values_of_a_conversation_have_types_and_limits(url: str, page_stack: FakeStack) -> None:
    hi = [{"role": "user", "content": "Hi"}]
    for wrong in (["x" * 100_000], {"text": "x" * 100_000}, 5, True):
        assert "The system prompt is not a text." in Stranger(url).send(hi, (wrong, *SETTINGS[1:]))
        assert "The model's name is not a text." in Stranger(url).send(hi, ("", wrong, *SETTINGS[2:]))
    too_long = "The model's name has 301 characters; at most 300 are sent."
    assert too_long in Stranger(url).send(hi, ("", "m" * 301, *SETTINGS[2:]))
    pictures = [render_user(Turn(images=(PICTURE,)))] * 21
    assert "has 21 pictures; at most 20 are sent" in Stranger(url).send([*pictures, *hi])
    texts = [{"role": "user", "content": "x" * 10_000}, {"role": "assistant", "content": "y" * 10_000}]
    assert "The conversation has 20,011 characters; at most 20,000 are sent." in Stranger(url).send([*texts, *hi])
    assert page_stack.requests == []


def test_nothing_of_a_conversation_stays_in_the_app(url: str, page_stack: FakeStack) -> None:
    secret = f"a secret {uuid.uuid4()}"
    assert "Hello there." in Stranger(url, "secretive").say(secret)
    page_stack.reset()
    (state,) = [
        found.session_data["secretive"]
        for found in gc.get_objects()
        if isinstance(found, StateHolder) and "secretive" in found.session_data
    ]
    assert secret not in str(state.config_values) + str(state.state_data)


def test_a_program_s_conversation_is_kept_up_to_a_size(
    url: str, page_stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_interface, "MAX_PROGRAM_BYTES", 2000)
    program = Client(url, headers={"x-forwarded-for": next(ADDRESSES)}, verbose=False)
    assert reply_text(program.predict("one", api_name="/chat")) == "Hello there."
    assert "conversation is too large" in reply_text(program.predict("x" * 2000, api_name="/chat"))
    assert reply_text(program.predict("two", api_name="/chat")) == "Hello there."
    assert [message["content"] for message in page_stack.requests[-1]["messages"][1:]] == ["one", "Hello there.", "two"]


async def test_a_comparison_costs_as_many_messages_as_it_sends(stack: FakeStack) -> None:
    with running(stack, messages_per_minute=3, max_tokens=50) as turns:
        tabs = TabHandlers(turns._settings, turns._connection, turns)
        await last(tabs.replay(conversation(ANSWERED, ANSWERED), REQUEST, *NOW))
        html = await last(tabs.replay(conversation(ANSWERED, ANSWERED), REQUEST, *NOW))
        assert "You may send 3 messages a minute here." in html
        assert "a minute here." in await last(tabs.replay(conversation(), REQUEST, *NOW))
    assert [request["max_tokens"] for request in stack.requests] == [50] * 3


async def test_checking_the_connection_costs_a_message(stack: FakeStack) -> None:
    with running(stack, messages_per_minute=1) as turns:
        page = Handlers(turns._settings, turns._connection, turns)
        assert "a minute here." not in await last(page.check(MODEL, REQUEST))
        requests = len(stack.calls)
        assert "a minute here." in await last(page.check(MODEL, REQUEST))
    assert len(stack.calls) == requests
