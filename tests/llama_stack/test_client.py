"""What the server gets and how its answers are read, through the real client on a transport of the test's own."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from llama_ui.core.errors import (
    AuthFailed,
    BadReply,
    Busy,
    ConnectionLost,
    NoAnswer,
    NotALlamaStack,
    NotListening,
    ServerError,
    TimedOut,
    UnknownModel,
)
from llama_ui.core.events import Event, Finished, Notice, Reasoning, Text, Usage
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.llama_stack.client import LlamaStackClient, ServerIdentity
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, LEGACY, OPENAI_COMPATIBLE, Dialect
from llama_ui.llama_stack.models import Model
from tests.support.received import received

URL = "http://stack.test:8321"
ROUTES = "/v1/inspect/routes"
MESSAGES = [Message("system", "Be brief."), Message("user", "Hi.")]
HELLO = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}]}

LEGACY_HELLO = {"event": {"event_type": "progress", "delta": {"type": "text", "text": "Hello"}, "stop_reason": None}}

type Handler = Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers by a handler, and keeps what was asked. Whom it tells its routes is up to `routes`.

    `routes` None: the handler is asked for them, too. Both can be changed: another server at the same address.
    """

    def __init__(
        self,
        handler: Handler,
        key: str | None = None,
        url: str = URL,
        routes: tuple[str, ...] | None = (CHAT_COMPLETIONS.route,),
    ) -> None:
        self.requests: list[httpx.Request] = []
        self.handler = handler
        self.routes = routes
        self.stack = LlamaStackClient(
            url, key, http=httpx.AsyncClient(transport=httpx.MockTransport(self._answer), follow_redirects=True)
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.routes is not None and request.url.path.endswith(ROUTES):
            return httpx.Response(200, json={"data": [{"route": route, "method": "post"} for route in self.routes]})
        return self.handler(request)

    @property
    def asked(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests]

    @property
    def posts(self) -> list[httpx.Request]:
        return [request for request in self.requests if request.method == "POST"]

    def lookups(self) -> int:
        return self.asked.count(f"GET {ROUTES}")

    async def reply(self, options: SamplingOptions = SamplingOptions()) -> list[Event]:  # noqa: B008
        return [event async for event in received(self.stack.stream("one/model", MESSAGES, options))]


class Body(httpx.AsyncByteStream):
    """A body that comes in parts: bytes are sent, an event is waited for, an exception breaks the connection."""

    def __init__(self, *parts: bytes | asyncio.Event | Exception) -> None:
        self._parts = parts
        self.waiting = asyncio.Event()
        self.closed = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            match part:
                case bytes():
                    yield part
                case asyncio.Event():
                    self.waiting.set()
                    await part.wait()
                case _:
                    raise part

    async def aclose(self) -> None:
        self.closed.set()


def sse(*chunks: object) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def streamed(content: bytes | Body) -> httpx.Response:
    headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
    body = content if isinstance(content, Body) else Body(content)
    return httpx.Response(200, headers=headers, stream=body)


def answering(status: int, body: object) -> Handler:
    return lambda _: httpx.Response(status, json=body)


def failing(error: Exception) -> Handler:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    return fail


# What is sent


async def test_a_reply_is_asked_for_with_one_request_of_exactly_this_body() -> None:
    server = Server(lambda _: streamed(sse(HELLO)))
    chosen = SamplingOptions(temperature=0.5, max_tokens=100)
    assert [event async for event in received(server.stack.stream("one/model", MESSAGES, chosen))] == [Text("Hello")]
    (request,) = server.posts
    assert str(request.url) == f"{URL}/v1/chat/completions"
    assert json.loads(request.content) == {
        "model": "one/model",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "max_tokens": 100,
    }


async def test_a_server_behind_a_path_is_asked_below_it() -> None:
    server = Server(lambda _: streamed(sse(HELLO)), url="https://stack.test/llama")
    await server.reply()
    base = "https://stack.test/llama/v1"
    assert [str(request.url) for request in server.requests] == [f"{base}/inspect/routes", f"{base}/chat/completions"]


@pytest.mark.parametrize(
    ("longest", "lookup", "connect"), [(300.0, 10.0, 5.0), (7.0, 7.0, 5.0), (0.5, 0.5, 0.5)], ids=str
)
async def test_the_timeout_is_the_wait_for_a_token_and_what_a_server_says_of_itself_comes_sooner(
    longest: float, lookup: float, connect: float
) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return friendly(request)

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    async with LlamaStackClient(URL, http=http, timeout=longest) as stack:
        assert [event async for event in received(stack.stream("one/model", MESSAGES, SamplingOptions()))] == [
            Text("Hello")
        ]
    waits = [(request.extensions["timeout"]["read"], request.extensions["timeout"]["connect"]) for request in asked]
    assert waits == [(lookup, connect), (longest, connect)]


EVERYTHING = ["GET /v1/inspect/routes", "POST /v1/chat/completions", "GET /v1/models", "GET /v1/version"]


async def ask_everything(server: Server) -> list[httpx.Request]:
    await server.reply()
    await server.stack.models()
    await server.stack.identity()
    assert set(server.asked) == set(EVERYTHING)
    return server.requests


def friendly(request: httpx.Request) -> httpx.Response:
    match request.url.path:
        case "/v1/models":
            return httpx.Response(200, json={"data": []})
        case "/v1/version":
            return httpx.Response(200, json={"version": "1.5.0"})
        case path if path in (CHAT_COMPLETIONS.route, OPENAI_COMPATIBLE.route):
            return streamed(sse(HELLO))
        case path if path == LEGACY.route:
            return streamed(sse(LEGACY_HELLO))
        case _:
            return httpx.Response(404, json={"detail": "Not Found"})


async def test_the_key_is_sent_as_a_bearer_token_with_every_request() -> None:
    requests = await ask_everything(Server(friendly, key="sk-given"))
    assert {request.headers["Authorization"] for request in requests} == {"Bearer sk-given"}


async def test_no_key_is_sent_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_STACK_CLIENT_API_KEY", "sk-environment")
    for request in await ask_everything(Server(friendly)):
        assert "Authorization" not in request.headers
        assert "sk-environment" not in str(request.headers.raw)


async def test_the_key_that_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_STACK_CLIENT_API_KEY", "sk-environment")
    requests = await ask_everything(Server(friendly, key="sk-given"))
    assert {request.headers["Authorization"] for request in requests} == {"Bearer sk-given"}


async def test_the_address_that_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_STACK_CLIENT_BASE_URL", "http://elsewhere.test")
    requests = await ask_everything(Server(friendly))
    assert {request.url.host for request in requests} == {"stack.test"}


@pytest.mark.parametrize("asked", EVERYTHING)
async def test_no_version_is_sent_for_which_a_server_would_turn_the_client_away(asked: str) -> None:
    def picky(request: httpx.Request) -> httpx.Response:
        told = request.headers.get("X-LlamaStack-Client-Version")
        if told is not None and asked == f"{request.method} {request.url.path}":
            return httpx.Response(426, json={"error": {"message": "Client version is not compatible"}})
        if request.url.path == ROUTES:
            return httpx.Response(200, json={"data": [{"route": CHAT_COMPLETIONS.route}]})
        return friendly(request)

    for request in await ask_everything(Server(picky, routes=None)):
        assert "X-LlamaStack-Client-Version" not in request.headers


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
async def test_a_failed_request_is_not_sent_again(status: int) -> None:
    server = Server(answering(status, {"error": {"message": "Not now."}}))
    with pytest.raises(ServerError):
        await server.reply()
    assert len(server.posts) == 1


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.ReadError("reset")])
async def test_a_request_that_got_no_answer_is_not_sent_again(error: Exception) -> None:
    server = Server(failing(error))
    with pytest.raises(ServerError):
        await server.reply()
    assert len(server.posts) == 1


# Replies


async def test_a_reply_is_read_to_its_end() -> None:
    chunks: list[object] = [
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"reasoning_content": "A greeting."}}]},
        HELLO,
        {"choices": [{"delta": {"content": " there. 🦙"}, "finish_reason": None}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
    ]
    server = Server(lambda _: streamed(sse(*chunks)))
    assert await server.reply() == [
        Reasoning("A greeting."),
        Text("Hello"),
        Text(" there. 🦙"),
        Finished("stop"),
        Usage(7, 3),
    ]


async def test_a_reply_may_end_with_a_done_line() -> None:
    server = Server(lambda _: streamed(sse(HELLO) + b"data: [DONE]\n\n"))
    assert await server.reply() == [Text("Hello")]


async def test_it_does_not_matter_where_the_network_cuts_a_reply() -> None:
    content = sse({"choices": [{"delta": {"content": "Größe 🦙"}}]}, HELLO)
    server = Server(lambda _: streamed(Body(*(bytes([byte]) for byte in content))))
    assert await server.reply() == [Text("Größe 🦙"), Text("Hello")]


async def test_comments_and_chunks_that_are_no_objects_are_passed_over() -> None:
    server = Server(lambda _: streamed(b": keep-alive\n\n" + sse([1], "text", None, HELLO)))
    assert await server.reply() == [Text("Hello")]


async def test_text_is_given_on_as_soon_as_it_comes() -> None:
    body = Body(sse(HELLO), asyncio.Event())
    server = Server(lambda _: streamed(body))
    async with aclosing(received(server.stack.stream("one/model", MESSAGES, SamplingOptions()))) as events:
        assert await anext(events) == Text("Hello")
        assert not body.closed.is_set()


async def test_closing_the_reply_closes_the_connection() -> None:
    body = Body(sse(HELLO), asyncio.Event())
    events = received(Server(lambda _: streamed(body)).stack.stream("one/model", MESSAGES, SamplingOptions()))
    await anext(events)
    await events.aclose()
    assert body.closed.is_set()


async def test_cancelling_the_wait_for_the_next_token_closes_the_connection() -> None:
    body = Body(sse(HELLO), asyncio.Event())
    reading = asyncio.create_task(Server(lambda _: streamed(body)).reply())
    await body.waiting.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert body.closed.is_set()


async def test_a_reply_read_to_its_end_closes_the_connection() -> None:
    body = Body(sse(HELLO))
    await Server(lambda _: streamed(body)).reply()
    assert body.closed.is_set()


# What goes wrong


async def failure(server: Server) -> ServerError:
    """The error of a reply, which must be one that a person can be told."""
    with pytest.raises(ServerError) as failed:
        await server.reply()
    error = failed.value
    assert error.sentence.endswith(".")
    assert error.fix.endswith(".")
    assert len(str(error).splitlines()) == 1
    return error


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (400, BadReply, "`Not like that.`"),
        (401, AuthFailed, "LLAMA_STACK_CLIENT_API_KEY"),
        (403, AuthFailed, "LLAMA_STACK_CLIENT_API_KEY"),
        (404, NotALlamaStack, URL),
        (408, Busy, "Try again"),
        (409, BadReply, "409"),
        (422, BadReply, "422"),
        (426, BadReply, "426"),
        (429, Busy, "busy"),
        (500, BadReply, "500"),
        (503, BadReply, "`Not like that.`"),
    ],
)
async def test_a_status_becomes_a_sentence_with_a_fix(status: int, kind: type[ServerError], told: str) -> None:
    error = await failure(Server(answering(status, {"error": {"message": "Not like that."}})))
    assert type(error) is kind
    assert told in str(error)


async def test_an_address_that_ends_in_v1_is_told_of() -> None:
    error = await failure(Server(answering(404, {"detail": "Not Found"}), url=f"{URL}/v1"))
    assert type(error) is NotALlamaStack
    assert error.fix == f"Leave /v1 off the address: {URL}."


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Too long."}},
        {"error": "Too long."},
        {"detail": "Too long."},
        {"detail": {"message": "Too long."}},
        {"message": "Too long."},
        "Too long.",
    ],
)
async def test_the_servers_own_words_are_told_without_the_json_around_them(body: object) -> None:
    error = await failure(Server(answering(400, body)))
    assert "(400): `Too long.`" in error.sentence


@pytest.mark.parametrize(
    "body", [None, {}, [], 5, {"error": None}, {"error": {"message": 5}}, {"detail": [{"msg": "x"}]}]
)
async def test_words_of_any_shape_do_no_harm(body: object) -> None:
    assert "(400)" in (await failure(Server(answering(400, body)))).sentence


async def test_an_error_page_becomes_one_line_of_code() -> None:
    page = "<html>\n<h1>502 `Bad` Gateway</h1>\n" + "<p>nginx</p>" * 100
    error = await failure(Server(lambda _: httpx.Response(502, html=page)))
    assert error.sentence.count("`") == 2
    assert len(error.sentence) < 400


@pytest.mark.parametrize(
    ("cause", "kind", "told"),
    [
        (httpx.ConnectError("refused"), NotListening, "No server answers"),
        (httpx.ConnectTimeout("slow"), NotListening, "did not take the connection"),
        (httpx.ReadTimeout("slow"), TimedOut, "no first token for 300 seconds"),
        (httpx.RemoteProtocolError("gone"), NoAnswer, "without an HTTP answer"),
        (httpx.ReadError("gone"), NoAnswer, "without an HTTP answer"),
        (httpx.WriteError("gone"), NoAnswer, "without an HTTP answer"),
    ],
)
async def test_a_connection_that_fails_before_the_answer_is_explained(
    cause: Exception, kind: type[ServerError], told: str
) -> None:
    error = await failure(Server(failing(cause)))
    assert type(error) is kind
    assert told in error.sentence
    assert URL in error.sentence


async def until_failure(server: Server) -> tuple[list[Event], ServerError]:
    """What came of a reply before it failed, and the failure."""
    events = []
    with pytest.raises(ServerError) as failed:
        async for event in received(server.stack.stream("one/model", MESSAGES, SamplingOptions())):
            events.append(event)
    return events, failed.value


@pytest.mark.parametrize(
    ("cause", "kind", "told"),
    [
        (httpx.RemoteProtocolError("incomplete chunked read"), ConnectionLost, "in the middle of the reply"),
        (httpx.ReadError("reset"), ConnectionLost, "in the middle of the reply"),
        (httpx.ReadTimeout("slow"), TimedOut, "stalled: nothing came for 300 seconds"),
    ],
)
async def test_a_connection_lost_in_the_middle_of_a_reply_is_explained(
    cause: Exception, kind: type[ServerError], told: str
) -> None:
    body = Body(sse(HELLO), cause)
    events, error = await until_failure(Server(lambda _: streamed(body)))
    assert events == [Text("Hello")]
    assert type(error) is kind
    assert told in error.sentence
    assert body.closed.is_set()


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"message": "Internal `server` error"}, "`Internal 'server' error`"),
        ("Out of memory", "broke off with an error: `Out of memory`"),
        ({"code": 500}, "failed (500)"),
    ],
)
async def test_an_error_inside_the_stream_is_told(sent: object, told: str) -> None:
    events, error = await until_failure(Server(lambda _: streamed(sse(HELLO, {"error": sent}))))
    assert events == [Text("Hello")]
    assert type(error) is BadReply
    assert told in error.sentence


@pytest.mark.parametrize("data", [b"data: hello\n\n", b"data: {\n\n", b"data: \xff\xfe\n\n"])
async def test_a_stream_of_something_else_is_told_as_that(data: bytes) -> None:
    error = await failure(Server(lambda _: streamed(data)))
    assert "does not speak Llama Stack" in error.sentence
    assert URL in error.sentence


STRANGERS: dict[str, dict[str, Any]] = {
    "a web page": {"html": "<!doctype html><title>Some other program</title>"},
    "plain text": {"text": "It works!"},
    "other JSON": {"json": {"hello": "world"}},
    "a JSON list": {"json": []},
    "JSON null": {"json": None},
}
EACH_STRANGER = pytest.mark.parametrize("answer", STRANGERS.values(), ids=STRANGERS.keys())


@EACH_STRANGER
async def test_an_answer_that_is_no_stream_of_a_reply_is_told_as_that(answer: dict[str, Any]) -> None:
    error = await failure(Server(lambda _: httpx.Response(200, **answer), routes=None))
    assert "does not speak Llama Stack" in error.sentence


@EACH_STRANGER
async def test_an_answer_that_is_no_list_of_models_is_told_as_that(answer: dict[str, Any]) -> None:
    with pytest.raises(NotALlamaStack, match="does not speak Llama Stack"):
        await Server(lambda _: httpx.Response(200, **answer)).stack.models()


@EACH_STRANGER
async def test_an_answer_that_is_no_version_is_none(answer: dict[str, Any]) -> None:
    stranger = Server(lambda _: httpx.Response(200, **answer), routes=None)
    assert await stranger.stack.identity() == ServerIdentity(None, CHAT_COMPLETIONS)


# The dialect


@pytest.mark.parametrize("dialect", [CHAT_COMPLETIONS, OPENAI_COMPATIBLE, LEGACY], ids=lambda dialect: dialect.route)
async def test_a_server_is_asked_at_the_route_that_it_has_and_in_its_words(dialect: Dialect) -> None:
    server = Server(friendly, routes=("/v1/models", dialect.route))
    assert await server.reply() == [Text("Hello")]
    assert server.asked == [f"GET {ROUTES}", f"POST {dialect.route}"]
    assert json.loads(server.posts[0].content) == dialect.payload("one/model", MESSAGES, SamplingOptions())


async def test_the_dialect_is_looked_up_once_for_many_replies() -> None:
    server = Server(friendly)
    for _ in range(3):
        assert await server.reply() == [Text("Hello")]
    assert server.asked == [f"GET {ROUTES}", *["POST /v1/chat/completions"] * 3]


async def test_the_dialect_is_looked_up_once_for_many_first_replies_at_once() -> None:
    reached, release, lookups = asyncio.Event(), asyncio.Event(), []

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path != ROUTES:
            return friendly(request)
        lookups.append(request)
        reached.set()
        await release.wait()
        return httpx.Response(200, json={"data": [{"route": CHAT_COMPLETIONS.route}]})

    async def reply() -> list[Event]:
        return [event async for event in received(stack.stream("one/model", MESSAGES, SamplingOptions()))]

    stack = LlamaStackClient(URL, http=httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    replies = [asyncio.create_task(reply()) for _ in range(20)]
    await reached.wait()
    release.set()
    assert await asyncio.gather(*replies) == [[Text("Hello")]] * 20
    assert len(lookups) == 1


async def test_a_visitor_who_leaves_during_the_lookup_does_not_end_it_for_the_others() -> None:
    reached, release = asyncio.Event(), asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path != ROUTES:
            return friendly(request)
        reached.set()
        await release.wait()
        return httpx.Response(200, json={"data": [{"route": CHAT_COMPLETIONS.route}]})

    async def reply() -> list[Event]:
        return [event async for event in received(stack.stream("one/model", MESSAGES, SamplingOptions()))]

    stack = LlamaStackClient(URL, http=httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    leaving, staying = asyncio.create_task(reply()), asyncio.create_task(reply())
    await reached.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    release.set()
    assert await staying == [Text("Hello")]


@pytest.mark.parametrize(
    "answer",
    [
        {"status_code": 404, "json": {"detail": "Not Found"}},
        {"status_code": 405, "json": {"detail": "Method Not Allowed"}},
        {"status_code": 401, "json": {"detail": "No."}},
        {"status_code": 200, "html": "<!doctype html><title>An engine's page</title>"},
        {"status_code": 200, "json": {"data": None}},
    ],
    ids=["404", "405", "401", "HTML", "other JSON"],
)
async def test_a_server_that_does_not_list_its_routes_is_asked_at_the_one_of_today(answer: dict[str, Any]) -> None:
    server = Server(
        lambda request: httpx.Response(**answer) if request.method == "GET" else friendly(request), routes=None
    )
    assert await server.reply() == [Text("Hello")]
    assert server.asked == [f"GET {ROUTES}", "POST /v1/chat/completions"]


async def test_a_server_without_a_chat_route_is_told_and_nothing_is_posted() -> None:
    server = Server(friendly, routes=("/v1/models", "/v1/vector-io/query"))
    error = await failure(server)
    assert type(error) is NotALlamaStack
    assert "has no chat route" in error.sentence
    assert server.posts == []


@pytest.mark.parametrize(
    ("before", "after"),
    [(CHAT_COMPLETIONS, LEGACY), (LEGACY, OPENAI_COMPATIBLE), (OPENAI_COMPATIBLE, CHAT_COMPLETIONS)],
    ids=lambda dialect: dialect.route,
)
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"detail": "Not Found"}),
        (405, {"detail": "Method Not Allowed"}),
        (400, {"error": {"detail": "Invalid value: No endpoint found for this route"}}),
    ],
)
async def test_a_server_replaced_by_one_of_another_generation_answers_the_next_reply(
    before: Dialect, after: Dialect, status: int, body: object
) -> None:
    def only_its_own_route(request: httpx.Request) -> httpx.Response:
        assert server.routes
        return friendly(request) if request.url.path in server.routes else httpx.Response(status, json=body)

    server = Server(only_its_own_route, routes=(before.route,))
    assert await server.reply() == [Text("Hello")]
    server.routes = (after.route,)
    server.requests.clear()
    assert await server.reply() == [Text("Hello")]
    assert server.asked == [f"POST {before.route}", f"GET {ROUTES}", f"POST {after.route}"]
    server.requests.clear()
    assert await server.reply() == [Text("Hello")]
    assert server.asked == [f"POST {after.route}"]


async def test_a_route_that_is_listed_and_missing_is_told_after_one_request() -> None:
    server = Server(lambda _: httpx.Response(404, json={"detail": "Not Found"}))
    assert type(await failure(server)) is NotALlamaStack
    assert len(server.posts) == 1


@pytest.mark.parametrize("cause", [httpx.ConnectError("refused"), httpx.ReadError("reset")], ids=repr)
async def test_after_the_connection_failed_the_dialect_is_looked_up_again(cause: Exception) -> None:
    server = Server(friendly)
    await server.reply()
    server.handler = failing(cause)
    await failure(server)
    server.handler, server.routes = friendly, (LEGACY.route,)
    assert await server.reply() == [Text("Hello")]
    assert server.asked[-2:] == [f"GET {ROUTES}", f"POST {LEGACY.route}"]


async def test_after_the_connection_was_lost_in_mid_reply_the_dialect_is_looked_up_again() -> None:
    server = Server(lambda _: streamed(Body(sse(HELLO), httpx.ReadError("reset"))))
    await until_failure(server)
    server.handler, server.routes = friendly, (LEGACY.route,)
    assert await server.reply() == [Text("Hello")]
    assert server.lookups() == 2


async def test_what_is_said_about_the_server_is_about_the_one_that_is_there_now() -> None:
    server = Server(friendly)
    assert (await server.stack.identity()).dialect == CHAT_COMPLETIONS
    server.routes = (LEGACY.route,)
    assert (await server.stack.identity()).dialect == LEGACY


async def test_a_setting_that_cannot_be_sent_is_told_before_the_reply() -> None:
    server = Server(friendly, routes=(LEGACY.route,))
    notice, *rest = await server.reply(SamplingOptions(temperature=0.5, seed=7))
    assert isinstance(notice, Notice)
    assert notice.sentence.startswith("Seed cannot be sent to this server")
    assert rest == [Text("Hello")]
    assert b"seed" not in server.posts[0].content


async def test_where_every_setting_is_sent_nothing_is_told() -> None:
    assert await Server(friendly).reply(SamplingOptions(temperature=0.5, seed=7)) == [Text("Hello")]
    assert await Server(friendly, routes=(LEGACY.route,)).reply(SamplingOptions(temperature=0.5)) == [Text("Hello")]


# Unknown models


def knowing(*models: str, refused: str | None = None) -> Handler:
    """A server that has these models. `refused`: lists that one, too, and does not have it."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": model} for model in (*models, refused) if model]})
        if json.loads(request.content)["model"] in models:
            return streamed(sse(HELLO))
        return httpx.Response(404, json={"error": {"message": "Model not found."}})

    return answer


async def test_an_unknown_model_is_told_with_the_closest_one_that_there_is() -> None:
    server = Server(knowing("other/mistral", "one/modell"))
    error = await failure(server)
    assert type(error) is UnknownModel
    assert error.sentence == "The server has no model `one/model`."
    assert "`one/modell`" in error.fix
    assert len(server.posts) == 1


@pytest.mark.parametrize("listed", ["model", "engine/one/model"])
async def test_a_model_that_the_server_lists_under_another_prefix_is_asked_for_under_that_name(listed: str) -> None:
    server = Server(knowing("other", listed))
    assert await server.reply() == [
        Notice(f"This server's name for the model `one/model` is `{listed}`."),
        Text("Hello"),
    ]
    assert [json.loads(request.content)["model"] for request in server.posts] == ["one/model", listed]


async def test_a_model_whose_other_name_is_refused_too_is_not_asked_for_again_and_again() -> None:
    server = Server(knowing("other", refused="engine/one/model"))
    events, error = await until_failure(server)
    assert [type(event) for event in events] == [Notice]
    assert type(error) is UnknownModel
    assert len(server.posts) == 2


async def test_a_model_that_is_listed_and_refused_is_told_as_that() -> None:
    error = await failure(Server(knowing("other", refused="one/model")))
    assert "lists the model `one/model`" in error.sentence


async def test_an_unknown_model_is_told_where_the_server_lists_none_when_asked() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(500, json={"detail": "No."})
        return httpx.Response(404, json={"error": {"message": "Model not found."}})

    error = await failure(Server(answer))
    assert error.sentence == "The server has no model `one/model`."


async def test_a_model_that_becomes_unknown_in_mid_reply_is_not_asked_for_again() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"data": [{"id": "model"}]})
        return streamed(sse(HELLO, {"error": {"message": "400: Model 'one/model' not found"}}))

    server = Server(answer)
    events, error = await until_failure(server)
    assert events == [Text("Hello")]
    assert type(error) is UnknownModel
    assert len(server.posts) == 1


# The end of a reply


END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


def framed(content: bytes, **headers: str) -> Handler:
    named = {"content-type": "text/event-stream"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(200, headers=named, stream=Body(content))


async def test_a_reply_that_only_the_end_of_the_connection_ends_may_be_cut_off() -> None:
    events, error = await until_failure(Server(framed(sse(HELLO))))
    assert events == [Text("Hello")]
    assert type(error) is ConnectionLost
    assert "in the middle of the reply" in error.sentence


async def test_a_reply_that_was_cut_off_before_its_first_token_is_lost_before_the_reply() -> None:
    events, error = await until_failure(Server(framed(b": ping\n\n")))
    assert events == []
    assert type(error) is ConnectionLost
    assert "before the reply" in error.sentence


async def test_a_reply_with_a_reason_for_its_end_is_whole_however_it_is_framed() -> None:
    assert await Server(framed(sse(HELLO, END))).reply() == [Text("Hello"), Finished("stop")]


async def test_a_reply_that_was_framed_is_whole_without_a_reason_for_its_end() -> None:
    content = sse(HELLO)
    assert await Server(framed(content, transfer_encoding="chunked")).reply() == [Text("Hello")]
    assert await Server(framed(content, content_length=str(len(content)))).reply() == [Text("Hello")]


# Models and version


async def listed(*models: object) -> list[Model]:
    return await Server(answering(200, {"data": models})).stack.models()


async def test_models_are_read_in_the_order_of_the_servers_list_without_what_is_none() -> None:
    models = await listed(
        {"id": "x/chat", "created": 0, "owned_by": "x", "custom_metadata": {"model_type": "llm", "provider_id": "x"}},
        None,
        {"identifier": "embed", "model_type": "embedding", "provider_id": "x", "metadata": {"dimension": 384}},
        {"id": "llama", "object": "model", "created": 1, "owned_by": "vllm"},
    )
    assert models == [Model("x/chat", "llm"), Model("embed", "embedding"), Model("llama", None)]


async def test_the_models_to_choose_from_are_those_that_chat() -> None:
    data = [
        {"identifier": "embed", "model_type": "embedding"},
        {"identifier": "chat", "model_type": "llm"},
        {"id": "x"},
    ]
    assert await Server(answering(200, {"data": data})).stack.chat_models() == ["chat", "x"]


async def test_a_server_without_models_lists_none() -> None:
    assert await listed() == []


async def test_a_refused_key_is_told_when_models_are_listed() -> None:
    with pytest.raises(AuthFailed):
        await Server(answering(401, {"error": {"message": "Authentication required."}})).stack.models()


async def test_a_server_is_known_by_its_version_and_its_route() -> None:
    server = Server(answering(200, {"version": "0.2.12"}), routes=(LEGACY.route, OPENAI_COMPATIBLE.route))
    assert await server.stack.identity() == ServerIdentity("0.2.12", OPENAI_COMPATIBLE)
    assert sorted(server.asked) == [f"GET {ROUTES}", "GET /v1/version"]


@pytest.mark.parametrize("body", [{"detail": "Not Found"}, {"error": {"message": "File Not Found"}}, None])
async def test_a_plain_engine_has_no_version(body: object) -> None:
    assert await Server(answering(404, body), routes=None).stack.identity() == ServerIdentity(None, CHAT_COMPLETIONS)


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("0.1.9", "Llama Stack 0.1.9"),
        ("0.2.12", "Llama Stack 0.2.12"),
        ("0.7.3", "Llama Stack 0.7.3"),
        ("0.8.0", "OGX 0.8.0"),
        ("1.5.0", "OGX 1.5.0"),
        ("1.6.0rc1", "OGX 1.6.0rc1"),
        ("0.10.1", "OGX 0.10.1"),
        ("dev", "Llama Stack dev"),
        (None, "OpenAI-compatible server"),
    ],
)
def test_a_version_tells_the_projects_name(version: str | None, name: str) -> None:
    assert ServerIdentity(version, CHAT_COMPLETIONS).name == name


GETS = pytest.mark.parametrize(
    "ask", [LlamaStackClient.models, LlamaStackClient.chat_models, LlamaStackClient.identity]
)


@GETS
@pytest.mark.parametrize(
    ("cause", "kind"),
    [(httpx.ConnectError("refused"), NotListening), (httpx.ReadTimeout("slow"), TimedOut)],
)
async def test_a_server_that_is_not_there_is_told_when_it_is_asked_about_itself(
    ask: Callable[[LlamaStackClient], Any], cause: Exception, kind: type[ServerError]
) -> None:
    with pytest.raises(kind):
        await ask(Server(failing(cause), routes=None).stack)


@GETS
@pytest.mark.parametrize("cause", [httpx.ReadError("reset"), httpx.RemoteProtocolError("gone")], ids=repr)
async def test_a_question_that_met_a_closing_connection_is_asked_again(
    ask: Callable[[LlamaStackClient], Any], cause: Exception
) -> None:
    closed = set()

    def close_each_once(request: httpx.Request) -> httpx.Response:
        if request.url.path not in closed:
            closed.add(request.url.path)
            raise cause
        return friendly(request)

    server = Server(close_each_once, routes=None)
    await ask(server.stack)
    assert {server.asked.count(asked) for asked in server.asked} == {2}


@GETS
async def test_a_question_is_asked_twice_at_most(ask: Callable[[LlamaStackClient], Any]) -> None:
    server = Server(failing(httpx.ReadError("reset")), routes=None)
    with pytest.raises(NoAnswer):
        await ask(server.stack)
    assert max(server.asked.count(asked) for asked in server.asked) == 2


async def test_leaving_closes_the_connections() -> None:
    http = httpx.AsyncClient(transport=httpx.MockTransport(friendly))
    async with LlamaStackClient(URL, http=http) as stack:
        assert await stack.models() == []
    assert http.is_closed


@pytest.mark.parametrize("status", [400, 401, 403, 405, 500, 501])
async def test_a_gateway_that_refuses_what_it_does_not_know_is_asked_at_the_route_of_today(status: int) -> None:
    def gateway(request: httpx.Request) -> httpx.Response:
        if request.url.path == CHAT_COMPLETIONS.route:
            return streamed(sse(HELLO))
        return httpx.Response(status, json={"error": {"message": "Missing Authentication Token"}})

    server = Server(gateway, routes=None)
    assert await server.reply() == [Text("Hello")]
    assert await server.stack.identity() == ServerIdentity(None, CHAT_COMPLETIONS)


async def test_many_who_wait_for_a_server_that_does_not_answer_hear_of_it_at_once() -> None:
    waiting, release, lookups = asyncio.Event(), asyncio.Event(), []

    async def mute(request: httpx.Request) -> httpx.Response:
        lookups.append(request)
        waiting.set()
        await release.wait()
        raise httpx.ReadTimeout("slow")

    stack = LlamaStackClient(URL, http=httpx.AsyncClient(transport=httpx.MockTransport(mute)))
    replies = [asyncio.create_task(anext(received(stack.stream("m", MESSAGES, SamplingOptions())))) for _ in range(8)]
    await waiting.wait()
    release.set()
    ended = await asyncio.gather(*replies, return_exceptions=True)
    assert {type(error) for error in ended} == {TimedOut}
    assert len(lookups) == 1


@pytest.mark.parametrize("version", ["1.5.0\nok      Key", "x" * 41, "\x1b[31m", "", 5])
async def test_a_version_that_is_none_is_not_told(version: object) -> None:
    server = Server(answering(200, {"version": version}))
    assert (await server.stack.identity()).version is None


def of_two_generations(request: httpx.Request) -> httpx.Response:
    """A server that lists "model" and nothing else."""
    if request.url.path == "/v1/models":
        return httpx.Response(200, json={"data": [{"identifier": "model", "model_type": "llm"}]})
    if json.loads(request.content).get("model_id") != "model":
        return streamed(sse({"error": {"message": "400: Invalid value: Model 'one/model' not found"}}))
    return streamed(sse(LEGACY_HELLO))


async def test_a_seed_that_cannot_be_sent_does_not_keep_the_models_other_name_from_being_found() -> None:
    server = Server(of_two_generations, routes=(LEGACY.route,))
    events = [event async for event in received(server.stack.stream("one/model", MESSAGES, SamplingOptions(seed=5)))]
    assert events[-1] == Text("Hello")


async def test_the_models_other_name_is_remembered() -> None:
    server = Server(of_two_generations, routes=(LEGACY.route,))
    await server.reply()
    before = len(server.posts)
    assert (await server.reply())[-1] == Text("Hello")
    assert len(server.posts) == before + 1


@pytest.mark.parametrize(
    "error", [{"object": "error", "message": "engine died", "code": 500}, {"detail": "engine died"}], ids=str
)
async def test_an_error_in_the_stream_that_does_not_call_itself_one_is_told(error: dict[str, object]) -> None:
    events, failed = await until_failure(Server(lambda _: streamed(sse(HELLO, error))))
    assert events == [Text("Hello")]
    assert "`engine died`" in failed.sentence


async def test_an_error_with_the_status_of_success_is_told() -> None:
    error = await failure(Server(answering(200, {"error": {"message": "Rate limit exceeded", "code": 429}})))
    assert type(error) is Busy


async def test_an_address_that_leads_to_another_is_told_with_the_other() -> None:
    def moved(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "http":
            return httpx.Response(301, headers={"location": str(request.url.copy_with(scheme="https"))})
        return httpx.Response(405) if request.url.path == CHAT_COMPLETIONS.route else friendly(request)

    error = await failure(Server(moved, routes=None))
    assert error.fix == "Use that one: https://stack.test:8321."


@pytest.mark.loopback
async def test_the_message_after_an_error_does_not_meet_a_connection_that_the_server_is_about_to_close() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Llama Stack 0.7 closes the connection a while after an error, and with it what was sent by then."""
        nonlocal failed
        while request := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"content-length: (\d+)", request, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            if request.startswith(b"GET"):
                status, kind, body = "404 Not Found", "application/json", b"{}"
            elif not failed:
                failed, status, kind, body = writer, "429 Too Many Requests", "application/json", b"{}"
            elif writer is failed:
                break
            else:
                status, kind, body = "200 OK", "text/event-stream", sse(HELLO)
            head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
        writer.close()

    failed: asyncio.StreamWriter | None = None
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, LlamaStackClient(url) as stack:
        with pytest.raises(Busy):
            _ = [event async for event in received(stack.stream("one/model", MESSAGES, SamplingOptions()))]
        assert [event async for event in received(stack.stream("one/model", MESSAGES, SamplingOptions()))] == [
            Text("Hello")
        ]
