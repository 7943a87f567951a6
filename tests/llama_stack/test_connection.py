"""Which server is talked to, and what becomes of those who ask meanwhile."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llama_ui.core.errors import BadReply, LocalStackError, NoServer, UnknownModel, Unreachable
from llama_ui.core.events import Text
from llama_ui.core.messages import Image, Message, SamplingOptions
from llama_ui.llama_stack import connection
from llama_ui.llama_stack.connection import DEFAULT_URLS, Connection, ServerInfo
from llama_ui.settings import Settings
from tests.support.fake_stack import MODEL, VISION_MODEL, FakeStack, Hold
from tests.support.received import received

MESSAGES = [Message("user", "Hi.")]
BROKEN = LocalStackError("The model could not be fetched.", "Check the network.")


class FakeLocalStack:
    """In place of the local stack, which is two processes: says where it is, when it is let."""

    def __init__(self) -> None:
        self.url: str | None = None  # None: it cannot be started
        self.starts = 0
        self.running = False
        self.starting = threading.Event()
        self.let = threading.Event()
        self.let.set()

    def __call__(self, cache: Path, model: str | None, report: Callable[[str], None]) -> "FakeLocalStack":
        self.report = report
        return self

    def start(self) -> str:
        self.starts += 1
        self.report(f"Starting for the time {self.starts}")
        self.starting.set()
        assert self.let.wait(30)
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
    monkeypatch.setattr(connection, "LocalStack", fake)
    return fake


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch, local: FakeLocalStack) -> Callable[..., None]:
    """Sets the addresses that are tried: `usual(url, ...)`. At first there are none."""

    def choose(*urls: str) -> None:
        monkeypatch.setattr(connection, "DEFAULT_URLS", urls)

    choose()
    return choose


@pytest.fixture
def another(stack: FakeStack) -> Iterator[FakeStack]:
    with FakeStack() as server:
        yield server


@pytest.fixture
def free_port() -> int:
    """A port on which nothing answers."""
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        return int(placeholder.getsockname()[1])


@pytest.fixture
def stranger() -> Iterator[Callable[[int, str], str]]:
    """Another program: `stranger(status, body)` answers with that, and gives its address."""
    with ExitStack() as cleanup:

        def serve(status: int, body: str) -> str:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body.encode())

                def log_message(self, *_: object) -> None:
                    pass

            server = cleanup.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            thread = threading.Thread(target=server.serve_forever, args=[0.01])
            thread.start()
            cleanup.callback(thread.join)
            cleanup.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield serve


async def chosen_url(settings: Settings) -> str:
    return (await Connection(settings).client()).base_url


async def reply(connected: Connection, model: str = "") -> str:
    events = [event async for event in received(connected.stream(model, MESSAGES, SamplingOptions()))]
    return "".join(event.text for event in events if isinstance(event, Text))


# Which server


def test_the_usual_addresses_are_the_default_one_and_then_the_guides() -> None:
    assert DEFAULT_URLS == ("http://localhost:8321", "http://localhost:5000")


@pytest.mark.loopback
async def test_a_server_that_is_configured_is_used_and_no_other_is_looked_for(
    stack: FakeStack, another: FakeStack, usual: Callable[..., None], local: FakeLocalStack
) -> None:
    usual(another.url)
    connected = Connection(Settings(base_url=stack.url))
    assert await reply(connected) == "Hello there."
    assert connected.summary() == f"Server: {stack.url}"
    assert (len(stack.requests), len(another.requests), local.starts) == (1, 0, 0)


@pytest.mark.loopback
async def test_a_configured_server_that_does_not_answer_is_an_error_and_no_reason_to_use_another(
    free_port: int, stack: FakeStack, usual: Callable[..., None], local: FakeLocalStack
) -> None:
    usual(stack.url)
    connected = Connection(Settings(base_url=f"http://127.0.0.1:{free_port}"))
    with pytest.raises(Unreachable, match=str(free_port)):
        await reply(connected)
    with pytest.raises(Unreachable):
        await connected.server_info()
    assert (len(stack.requests), local.starts) == (0, 0)


@pytest.mark.loopback
async def test_a_configured_server_that_comes_back_needs_no_restart_of_the_app(free_port: int, local: object) -> None:
    connected = Connection(Settings(base_url=f"http://127.0.0.1:{free_port}"))
    with pytest.raises(Unreachable):
        await reply(connected)
    with FakeStack(free_port):
        assert await reply(connected) == "Hello there."


@pytest.mark.loopback
async def test_the_first_of_the_usual_addresses_wins(
    stack: FakeStack, another: FakeStack, usual: Callable[..., None]
) -> None:
    usual(stack.url, another.url)
    assert await chosen_url(Settings()) == stack.url
    usual(another.url, stack.url)
    assert await chosen_url(Settings()) == another.url


@pytest.mark.loopback
async def test_the_second_of_the_usual_addresses_is_used_where_nothing_answers_at_the_first(
    stack: FakeStack, free_port: int, usual: Callable[..., None], local: FakeLocalStack
) -> None:
    usual(f"http://127.0.0.1:{free_port}", stack.url)
    assert await chosen_url(Settings()) == stack.url
    assert local.starts == 0


@pytest.mark.loopback
async def test_the_key_is_sent_to_a_server_that_was_found(stack: FakeStack, usual: Callable[..., None]) -> None:
    usual(stack.url)
    stack.key = "sk-secret"
    assert await reply(Connection(Settings(api_key="sk-secret"))) == "Hello there."


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<!doctype html><title>AirTunes</title>"),
        (200, ""),
        (200, "[]"),
        (200, "null"),
        (200, "5"),
        (200, '{"ok": true}'),
        (403, ""),
        (404, '{"status": "no"}'),
        (500, '{"status": "no"}'),
    ],
)
async def test_a_program_that_is_no_llama_stack_is_passed_over(
    status: int,
    body: str,
    stranger: Callable[[int, str], str],
    stack: FakeStack,
    usual: Callable[..., None],
) -> None:
    usual(stranger(status, body), stack.url)
    assert await chosen_url(Settings()) == stack.url


@pytest.mark.loopback
async def test_without_any_server_the_local_stack_is_started(
    stack: FakeStack, free_port: int, usual: Callable[..., None], local: FakeLocalStack
) -> None:
    usual(f"http://127.0.0.1:{free_port}")
    local.url = stack.url
    connected = Connection(Settings())
    assert await reply(connected) == "Hello there."
    assert local.starts == 1
    assert (await connected.server_info()).local
    assert "local stack" in connected.summary()
    assert "--base-url" in connected.summary()


@pytest.mark.loopback
async def test_the_local_stack_does_not_get_the_key(
    stack: FakeStack, usual: Callable[..., None], local: FakeLocalStack
) -> None:
    local.url = stack.url
    await reply(Connection(Settings(api_key="sk-secret")))
    assert set(stack.keys) == {None}


async def test_without_any_server_and_no_local_stack_a_sentence_says_so(
    usual: Callable[..., None], local: FakeLocalStack
) -> None:
    with pytest.raises(NoServer) as failed:
        await Connection(Settings(no_local=True)).client()
    assert "No Llama Stack server" in failed.value.sentence
    assert "--base-url" in failed.value.fix
    assert local.starts == 0


@pytest.mark.loopback
async def test_the_sentence_names_the_addresses_that_were_tried(free_port: int, usual: Callable[..., None]) -> None:
    usual(f"http://127.0.0.1:{free_port}", f"http://localhost:{free_port}")
    with pytest.raises(NoServer, match=f"http://127.0.0.1:{free_port} or http://localhost:{free_port}"):
        await Connection(Settings(no_local=True)).client()


# Attempts


@pytest.mark.loopback
async def test_an_attempt_that_failed_is_made_again_by_the_next_one_who_asks(
    free_port: int, usual: Callable[..., None]
) -> None:
    usual(f"http://127.0.0.1:{free_port}")
    connected = Connection(Settings(no_local=True))
    with pytest.raises(NoServer):
        await connected.client()
    assert not connected.ready
    with FakeStack(free_port):
        assert await reply(connected) == "Hello there."
    assert connected.ready


@pytest.mark.loopback
async def test_a_local_stack_that_could_not_be_started_is_tried_again(
    stack: FakeStack, usual: Callable[..., None], local: FakeLocalStack
) -> None:
    connected = Connection(Settings())
    with pytest.raises(LocalStackError):
        await connected.client()
    local.url = stack.url
    assert await reply(connected) == "Hello there."
    assert local.starts == 2


async def test_saying_how_an_attempt_failed_does_not_make_another(
    usual: Callable[..., None], local: FakeLocalStack
) -> None:
    connected = Connection(Settings())
    with pytest.raises(LocalStackError):
        await connected.client()
    with pytest.raises(LocalStackError):
        connected.summary()
    assert local.starts == 1


@pytest.mark.loopback
async def test_everybody_waits_for_the_same_attempt(
    stack: FakeStack, usual: Callable[..., None], local: FakeLocalStack
) -> None:
    local.url = stack.url
    local.let.clear()
    connected = Connection(Settings())
    asking = [asyncio.create_task(reply(connected)) for _ in range(3)]
    assert await asyncio.to_thread(local.starting.wait, 30)
    assert not connected.ready
    assert connected.progress == "Starting for the time 1"
    local.let.set()
    assert await asyncio.gather(*asking) == ["Hello there."] * 3
    assert local.starts == 1
    assert connected.ready


async def test_everybody_hears_of_an_attempt_that_fails(usual: Callable[..., None], local: FakeLocalStack) -> None:
    local.let.clear()
    connected = Connection(Settings())
    asking = [asyncio.create_task(connected.client()) for _ in range(3)]
    assert await asyncio.to_thread(local.starting.wait, 30)
    local.let.set()
    assert await asyncio.gather(*asking, return_exceptions=True) == [BROKEN] * 3


@pytest.mark.loopback
async def test_a_visitor_who_leaves_does_not_end_the_attempt_for_the_others(
    stack: FakeStack, usual: Callable[..., None], local: FakeLocalStack
) -> None:
    local.url = stack.url
    local.let.clear()
    connected = Connection(Settings())
    leaving = asyncio.create_task(reply(connected))
    staying = asyncio.create_task(reply(connected))
    assert await asyncio.to_thread(local.starting.wait, 30)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    local.let.set()
    assert await staying == "Hello there."
    assert local.starts == 1


@pytest.mark.loopback
async def test_a_local_stack_that_died_is_started_again(
    stack: FakeStack, usual: Callable[..., None], local: FakeLocalStack
) -> None:
    local.url = stack.url
    connected = Connection(Settings())
    assert await reply(connected) == "Hello there."
    assert await reply(connected) == "Hello there."
    assert local.starts == 1
    local.running = False
    assert not connected.ready
    assert await reply(connected) == "Hello there."
    assert local.starts == 2


@pytest.mark.loopback
async def test_starting_does_not_wait_for_the_server(
    stack: FakeStack, usual: Callable[..., None], local: FakeLocalStack
) -> None:
    local.url = stack.url
    local.let.clear()
    connected = Connection(Settings())
    attempt = connected.start()
    assert not attempt.done()
    assert connected.start() is attempt
    local.let.set()
    assert (await connected.client()).base_url == stack.url


@pytest.mark.loopback
async def test_the_local_stack_is_stopped_with_the_app(
    stack: FakeStack, usual: Callable[..., None], local: FakeLocalStack
) -> None:
    local.url = stack.url
    connected = Connection(Settings())
    await connected.client()
    connected.close()
    assert not local.running


# Which model


def model_of(stack: FakeStack) -> Any:
    return stack.requests[-1]["model"]


@pytest.mark.loopback
async def test_the_model_that_was_chosen_is_asked(stack: FakeStack) -> None:
    stack.models.append({**stack.models[0], "id": "another/llama"})
    await reply(Connection(Settings(base_url=stack.url, model=MODEL)), "another/llama")
    assert model_of(stack) == "another/llama"


@pytest.mark.loopback
@pytest.mark.parametrize("blank", ["", "  "])
async def test_a_blank_model_is_the_configured_one(blank: str, stack: FakeStack) -> None:
    stack.models.append({**stack.models[0], "id": "another/llama"})
    await reply(Connection(Settings(base_url=stack.url, model="another/llama")), blank)
    assert model_of(stack) == "another/llama"


@pytest.mark.loopback
async def test_a_blank_model_is_the_guides_where_none_is_configured(stack: FakeStack) -> None:
    stack.models.append({**stack.models[0], "id": VISION_MODEL})
    await reply(Connection(Settings(base_url=stack.url)))
    assert model_of(stack) == VISION_MODEL


@pytest.mark.loopback
async def test_a_blank_model_is_the_first_that_chats_where_the_server_has_not_the_guides(stack: FakeStack) -> None:
    stack.models.reverse()
    assert stack.models[0]["id"] == "fake/embed"
    await reply(Connection(Settings(base_url=stack.url)))
    assert model_of(stack) == MODEL


@pytest.mark.loopback
async def test_a_server_without_a_chat_model_is_told_of(stack: FakeStack) -> None:
    del stack.models[0]
    with pytest.raises(UnknownModel) as failed:
        await reply(Connection(Settings(base_url=stack.url)))
    assert "no chat model" in failed.value.sentence
    assert stack.requests == []


# What is said of the server


@pytest.mark.loopback
async def test_the_server_is_described_with_its_name_and_the_models_that_chat(stack: FakeStack) -> None:
    described = await Connection(Settings(base_url=stack.url)).server_info()
    assert described == ServerInfo(stack.url, "OGX 1.5.0", [MODEL], text_only=[], local=False)


@pytest.mark.loopback
async def test_a_picture_is_kept_from_a_model_that_the_server_calls_blind(stack: FakeStack) -> None:
    stack.models[0]["custom_metadata"]["input_modalities"] = ["text"]
    connection = Connection(Settings(base_url=stack.url))
    assert (await connection.server_info()).text_only == [MODEL]
    messages = [Message("user", "What is it?", (Image("image/png", "aWNvbg=="),)), Message("assistant", "It is")]
    with pytest.raises(BadReply) as refused:
        async for _ in connection.stream(MODEL, [*messages, Message("user", "Go on.")], SamplingOptions()):
            pass
    assert refused.value.sentence == f"The model `{MODEL}` cannot see pictures."
    assert stack.requests == []
    async for _ in connection.stream(MODEL, [Message("user", "Hi.")], SamplingOptions()):
        pass
    assert len(stack.requests) == 1


@pytest.mark.loopback
async def test_a_plain_engine_is_described_as_one(stack: FakeStack) -> None:
    stack.be_an_engine("llama")
    assert (await Connection(Settings(base_url=stack.url)).server_info()).name == "OpenAI-compatible server"


@pytest.mark.loopback
async def test_models_that_the_server_gets_later_are_found(stack: FakeStack) -> None:
    connected = Connection(Settings(base_url=stack.url))
    await connected.server_info()
    stack.models.append({**stack.models[0], "id": "new/llama"})
    assert (await connected.server_info()).models == [MODEL, "new/llama"]


@pytest.mark.loopback
async def test_another_server_at_the_address_is_described_as_what_it_is(stack: FakeStack) -> None:
    connected = Connection(Settings(base_url=stack.url))
    assert (await connected.server_info()).name == "OGX 1.5.0"
    stack.version = "0.2.12"
    assert (await connected.server_info()).name == "Llama Stack 0.2.12"


@pytest.mark.loopback
async def test_closing_the_reply_closes_the_request_to_the_server(stack: FakeStack) -> None:
    answer = stack.enqueue("Hello", Hold())
    events = received(Connection(Settings(base_url=stack.url)).stream(MODEL, MESSAGES, SamplingOptions()))
    assert await anext(events) == Text("Hello")
    assert not answer.ended.is_set()
    await events.aclose()
    assert await asyncio.to_thread(answer.ended.wait, 30)
