"""Which server is used, and what callers get until it is ready."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llama_ui.core.errors import BadReply, LocalStackError, NoServer, Unreachable
from llama_ui.core.events import Queued, Text
from llama_ui.core.messages import Image, Message, SamplingOptions
from llama_ui.llama_stack import connection as connection_module
from llama_ui.llama_stack.connection import Connection, ServerInfo
from llama_ui.settings import Settings
from tests.support import SECONDS
from tests.support.app_process import free_port
from tests.support.bad_servers import RawServer
from tests.support.fake_stack import MODEL, VISION_MODEL, FakeStack, Hold
from tests.support.received import received

pytestmark = pytest.mark.loopback
MESSAGES = [Message("user", "Hi.")]
BROKEN = LocalStackError("The model could not be fetched.", "Check the network.")
NOTHING_THERE = "http://127.0.0.1:9"
type Defaults = Callable[..., None]


class FakeLocalStack:
    """In place of the local stack, which is a process: starts when the test lets it."""

    def __init__(self) -> None:
        self.url: str | None = None  # None: it cannot start
        self.model: str | None = None
        self.starts = 0
        self.running = False
        self.starting = threading.Event()
        self.may_start = threading.Event()
        self.may_start.set()

    def __call__(self, cache: Path, model: str | None, report: Callable[[str], None]) -> "FakeLocalStack":
        self.model, self.report = model, report
        return self

    def start(self) -> str:
        self.starts += 1
        self.report(f"Start {self.starts}")
        self.starting.set()
        assert self.may_start.wait(SECONDS)
        if self.url is None:
            raise BROKEN
        self.running = True
        return self.url

    def alive(self) -> bool:
        return self.running

    def stop(self) -> None:
        self.running = False


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> FakeLocalStack:
    """The local stack that is used when no server is found."""
    fake = FakeLocalStack()
    monkeypatch.setattr(connection_module, "LocalStack", fake)
    return fake


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch, local: FakeLocalStack) -> Defaults:
    """Sets the default addresses: `defaults(url, ...)`. At first there are none."""

    def set_defaults(*urls: str) -> None:
        monkeypatch.setattr(connection_module, "DEFAULT_URLS", urls)

    set_defaults()
    return set_defaults


@pytest.fixture
def another(stack: FakeStack) -> Iterator[FakeStack]:
    with FakeStack() as server:
        yield server


async def chosen_url(settings: Settings) -> str:
    return (await Connection(settings).client()).base_url


async def reply(connection: Connection, model: str = "") -> str:
    events = [event async for event in received(connection.stream(model, MESSAGES, SamplingOptions()))]
    return "".join(event.text for event in events if isinstance(event, Text))


# Which server


async def test_a_configured_server_is_used_and_no_other_is_looked_for(
    stack: FakeStack, another: FakeStack, defaults: Defaults, local: FakeLocalStack
) -> None:
    defaults(another.url)
    connection = Connection(Settings(base_url=stack.url))
    assert await reply(connection) == "Hello there."
    assert connection.summary() == f"Server: {stack.url}"
    assert (len(stack.requests), len(another.requests), local.starts) == (1, 0, 0)


async def test_a_configured_server_that_is_down_is_an_error_until_it_comes_back(
    stack: FakeStack, defaults: Defaults, local: FakeLocalStack
) -> None:
    defaults(stack.url)
    port = free_port()
    connection = Connection(Settings(base_url=f"http://127.0.0.1:{port}"))
    with pytest.raises(Unreachable, match=str(port)):
        await reply(connection)
    with pytest.raises(Unreachable):
        await connection.server_info()
    assert (len(stack.requests), local.starts) == (0, 0)
    with FakeStack(port):
        assert await reply(connection) == "Hello there."


async def test_the_first_default_address_at_which_a_server_answers_is_used(
    stack: FakeStack, another: FakeStack, defaults: Defaults, local: FakeLocalStack
) -> None:
    defaults(stack.url, another.url)
    stack.key = "sk-secret"
    connection = Connection(Settings(api_key="sk-secret"))
    assert await reply(connection) == "Hello there."
    assert (await connection.client()).base_url == stack.url
    defaults(NOTHING_THERE, another.url)
    assert await chosen_url(Settings()) == another.url
    assert local.starts == 0


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<!doctype html><title>AirTunes</title>"),
        (200, "5"),
        (200, '{"ok": true}'),
        (404, '{"status": "no"}'),
    ],
)
async def test_a_program_at_a_default_address_that_is_no_llama_stack_is_ignored(
    status: int, body: str, stack: FakeStack, defaults: Defaults
) -> None:
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n"
    with RawServer((head + body).encode(), port=(port := free_port())):
        defaults(f"http://127.0.0.1:{port}", stack.url)
        assert await chosen_url(Settings()) == stack.url


async def test_without_any_server_the_local_stack_is_started_and_gets_no_key(
    stack: FakeStack, defaults: Defaults, local: FakeLocalStack
) -> None:
    local.url = stack.url
    connection = Connection(Settings(api_key="sk-secret"))
    assert await reply(connection) == "Hello there."
    assert local.starts == 1
    assert set(stack.keys) == {None}
    info = await connection.server_info()
    assert info.local and info.demo and info.text_only == [MODEL]
    assert "demo model" in connection.summary() and "--base-url" in connection.summary()
    connection.close()
    assert not local.running


@pytest.mark.parametrize(
    ("model", "name"), [("smollm2-1.7b", "SmolLM2-1.7B-Instruct"), ("hf://owner/repo/mine.gguf", "mine")]
)
async def test_only_the_demonstration_model_is_called_one(
    model: str, name: str, stack: FakeStack, defaults: Defaults, local: FakeLocalStack
) -> None:
    local.url = stack.url
    connection = Connection(Settings(local_model=model))
    assert not (await connection.server_info()).demo
    assert f"the local stack with {name}. " in connection.summary()


async def test_without_any_server_and_no_local_stack_the_addresses_are_named(
    defaults: Defaults, local: FakeLocalStack
) -> None:
    defaults(NOTHING_THERE, "http://localhost:1")
    with pytest.raises(NoServer, match=f"{NOTHING_THERE} or http://localhost:1.*--base-url"):
        await Connection(Settings(no_local=True)).client()
    assert local.starts == 0


# Attempts


async def test_all_callers_get_the_error_of_an_attempt_and_the_next_one_repeats_it(
    stack: FakeStack, defaults: Defaults, local: FakeLocalStack
) -> None:
    connection = Connection(Settings())
    local.may_start.clear()
    callers = [asyncio.create_task(connection.client()) for _ in range(3)]
    assert await asyncio.to_thread(local.starting.wait, 30)
    local.may_start.set()
    assert await asyncio.gather(*callers, return_exceptions=True) == [BROKEN] * 3
    with pytest.raises(LocalStackError):
        connection.summary()
    assert (connection.ready, local.starts) == (False, 1)
    local.url = stack.url
    assert await reply(connection) == "Hello there."
    assert (connection.ready, local.starts) == (True, 2)


async def test_all_callers_wait_for_the_same_attempt_and_one_may_leave(
    stack: FakeStack, defaults: Defaults, local: FakeLocalStack
) -> None:
    local.url = stack.url
    local.may_start.clear()
    connection = Connection(Settings())
    leaving, *staying = [asyncio.create_task(reply(connection)) for _ in range(3)]
    assert await asyncio.to_thread(local.starting.wait, 30)
    assert not connection.ready
    assert connection.progress == "Start 1"
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    local.may_start.set()
    assert await asyncio.gather(*staying) == ["Hello there."] * 2
    assert (connection.ready, local.starts) == (True, 1)


async def test_a_local_stack_that_died_is_started_again(
    stack: FakeStack, defaults: Defaults, local: FakeLocalStack
) -> None:
    local.url = stack.url
    connection = Connection(Settings())
    for _ in range(2):
        assert await reply(connection) == "Hello there."
    assert local.starts == 1
    local.running = False
    assert not connection.ready
    assert await reply(connection) == "Hello there."
    assert local.starts == 2


# Models


@pytest.mark.parametrize(
    ("configured", "model", "expected"),
    [
        (MODEL, "another/llama", "another/llama"),
        ("another/llama", "  ", "another/llama"),
        (None, "", VISION_MODEL),  # the guide's
    ],
)
async def test_the_model_is_the_chosen_one_or_the_configured_one_or_the_first_choice(
    stack: FakeStack, configured: str | None, model: str, expected: str
) -> None:
    stack.models += [{**stack.models[0], "id": name} for name in ("another/llama", VISION_MODEL)]
    await reply(Connection(Settings(base_url=stack.url, model=configured)), model)
    assert stack.requests[-1]["model"] == expected


async def test_images_are_not_sent_to_a_model_that_the_server_calls_text_only(stack: FakeStack) -> None:
    stack.models[0]["custom_metadata"]["input_modalities"] = ["text"]
    connection = Connection(Settings(base_url=stack.url))
    assert (await connection.server_info()).text_only == [MODEL]
    messages = [Message("user", "What is it?", (Image("image/png", "aWNvbg=="),)), Message("assistant", "It is")]
    with pytest.raises(BadReply, match=f"The model `{MODEL}` cannot see pictures."):
        async for _ in connection.stream(MODEL, [*messages, Message("user", "Go on.")], SamplingOptions()):
            pass
    assert stack.requests == []
    assert await reply(connection, MODEL) == "Hello there."


# What the page shows of the server


async def test_the_server_is_described_as_it_is_now(stack: FakeStack) -> None:
    connection = Connection(Settings(base_url=stack.url))
    assert await connection.server_info() == ServerInfo(stack.url, "OGX 1.5.0", [MODEL], text_only=[], local=False)
    stack.version = "0.2.12"
    stack.models.append({**stack.models[0], "id": "new/llama"})
    info = await connection.server_info()
    assert (info.name, info.models) == ("Llama Stack 0.2.12", [MODEL, "new/llama"])


# The queue


async def test_a_request_waits_in_the_queue_and_closing_a_reply_closes_its_request_and_admits_the_next(
    stack: FakeStack,
) -> None:
    connection = Connection(Settings(base_url=stack.url, max_visitors=1))
    first_reply = stack.enqueue("Hello", Hold())
    first = received(connection.stream(MODEL, MESSAGES, SamplingOptions()))
    assert await anext(first) == Text("Hello")
    second = received(connection.stream(MODEL, MESSAGES, SamplingOptions()))
    assert await anext(second) == Queued(1)
    assert len(stack.requests) == 1
    await first.aclose()
    assert await asyncio.to_thread(first_reply.ended.wait, 30)
    assert await anext(second) == Queued(0)
    text = await anext(second)
    assert isinstance(text, Text) and text.text.startswith("Hello")  # the rest may have come with it
    await second.aclose()
