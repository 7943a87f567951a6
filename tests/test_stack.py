"""What the server gets and how its answers are read, through the real client on a transport of the test's own."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from llama_ui.errors import (
    KeyRefused,
    NoSuchPath,
    Refused,
    ServerError,
    TimedOut,
    UnknownModel,
    Unreachable,
)
from llama_ui.events import Done, Event, Reasoning, Text, Usage
from llama_ui.messages import Message, Options
from llama_ui.stack import LlamaStack, Model

URL = "http://stack.test:8321"
MESSAGES = [Message("system", "Be brief."), Message("user", "Hi.")]
HELLO = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}]}

type Handler = Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers by a handler, and keeps what was asked."""

    def __init__(self, handler: Handler, key: str | None = None, url: str = URL) -> None:
        self.requests: list[httpx.Request] = []
        self._handler = handler
        self.stack = LlamaStack(url, key, http=httpx.AsyncClient(transport=httpx.MockTransport(self._answer)))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._handler(request)

    async def reply(self) -> list[Event]:
        return [event async for event in self.stack.stream("one/model", MESSAGES, Options())]


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
    headers = {"content-type": "text/event-stream"}
    if isinstance(content, Body):
        return httpx.Response(200, headers=headers, stream=content)
    return httpx.Response(200, headers=headers, content=content)


def answering(status: int, body: object) -> Handler:
    return lambda _: httpx.Response(status, json=body)


def failing(error: Exception) -> Handler:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    return fail


# What is sent


async def test_a_reply_is_asked_for_with_one_request_of_exactly_this_body() -> None:
    server = Server(lambda _: streamed(sse(HELLO)))
    chosen = Options(temperature=0.5, max_tokens=100)
    assert [event async for event in server.stack.stream("one/model", MESSAGES, chosen)] == [Text("Hello")]
    (request,) = server.requests
    assert (request.method, str(request.url)) == ("POST", f"{URL}/v1/chat/completions")
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
    assert str(server.requests[0].url) == "https://stack.test/llama/v1/chat/completions"


async def ask_everything(server: Server) -> list[httpx.Request]:
    await server.reply()
    await server.stack.models()
    await server.stack.version()
    return server.requests


def friendly(request: httpx.Request) -> httpx.Response:
    match request.url.path:
        case "/v1/chat/completions":
            return streamed(sse(HELLO))
        case "/v1/models":
            return httpx.Response(200, json={"data": []})
        case _:
            return httpx.Response(200, json={"version": "1.5.0"})


async def test_the_key_is_sent_as_a_bearer_token_with_every_request() -> None:
    requests = await ask_everything(Server(friendly, key="sk-given"))
    assert [request.headers["Authorization"] for request in requests] == ["Bearer sk-given"] * 3


async def test_no_key_is_sent_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_STACK_CLIENT_API_KEY", "sk-environment")
    for request in await ask_everything(Server(friendly)):
        assert "Authorization" not in request.headers
        assert "sk-environment" not in str(request.headers.raw)


async def test_the_key_that_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_STACK_CLIENT_API_KEY", "sk-environment")
    requests = await ask_everything(Server(friendly, key="sk-given"))
    assert [request.headers["Authorization"] for request in requests] == ["Bearer sk-given"] * 3


async def test_the_address_that_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_STACK_CLIENT_BASE_URL", "http://elsewhere.test")
    requests = await ask_everything(Server(friendly))
    assert {request.url.host for request in requests} == {"stack.test"}


async def test_no_version_is_sent_for_which_a_server_would_turn_the_client_away() -> None:
    def picky(request: httpx.Request) -> httpx.Response:
        if "X-LlamaStack-Client-Version" in request.headers:
            return httpx.Response(426, json={"error": {"message": "Client version is not compatible"}})
        return friendly(request)

    for request in await ask_everything(Server(picky)):
        assert "X-LlamaStack-Client-Version" not in request.headers


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
async def test_a_failed_request_is_not_sent_again(status: int) -> None:
    server = Server(answering(status, {"error": {"message": "Not now."}}))
    with pytest.raises(ServerError):
        await server.reply()
    assert len(server.requests) == 1


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.ReadError("reset")])
async def test_a_request_that_got_no_answer_is_not_sent_again(error: Exception) -> None:
    server = Server(failing(error))
    with pytest.raises(ServerError):
        await server.reply()
    assert len(server.requests) == 1


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
        Done("stop"),
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
    async with aclosing(server.stack.stream("one/model", MESSAGES, Options())) as events:
        assert await anext(events) == Text("Hello")
        assert not body.closed.is_set()


async def test_closing_the_reply_closes_the_connection() -> None:
    body = Body(sse(HELLO), asyncio.Event())
    events = Server(lambda _: streamed(body)).stack.stream("one/model", MESSAGES, Options())
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
    assert error.__cause__ is not None
    return error


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (400, Refused, "`Not like that.`"),
        (401, KeyRefused, "LLAMA_STACK_CLIENT_API_KEY"),
        (403, KeyRefused, "LLAMA_STACK_CLIENT_API_KEY"),
        (404, NoSuchPath, URL),
        (408, Refused, "Try again"),
        (409, Refused, "409"),
        (422, Refused, "422"),
        (426, Refused, "426"),
        (429, Refused, "busy"),
        (500, Refused, "500"),
        (503, Refused, "`Not like that.`"),
    ],
)
async def test_a_status_becomes_a_sentence_with_a_fix(status: int, kind: type[ServerError], told: str) -> None:
    error = await failure(Server(answering(status, {"error": {"message": "Not like that."}})))
    assert type(error) is kind
    assert told in str(error)


async def test_an_unknown_model_is_named() -> None:
    error = await failure(Server(answering(404, {"error": {"message": "Model 'one/model' not found."}})))
    assert type(error) is UnknownModel
    assert "`one/model`" in error.sentence


async def test_an_address_that_ends_in_v1_is_told_of() -> None:
    error = await failure(Server(answering(404, {"detail": "Not Found"}), url=f"{URL}/v1"))
    assert type(error) is NoSuchPath
    assert "leave /v1 off" in error.fix


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
        (httpx.ConnectError("refused"), Unreachable, "No server answers"),
        (httpx.UnsupportedProtocol("no scheme"), Unreachable, "No server answers"),
        (httpx.ConnectTimeout("slow"), TimedOut, "too long"),
        (httpx.ReadTimeout("slow"), TimedOut, "too long"),
        (httpx.PoolTimeout("slow"), TimedOut, "too long"),
        (httpx.RemoteProtocolError("gone"), Unreachable, "was lost"),
        (httpx.ReadError("gone"), Unreachable, "was lost"),
        (httpx.WriteError("gone"), Unreachable, "was lost"),
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
        async for event in server.stack.stream("one/model", MESSAGES, Options()):
            events.append(event)
    return events, failed.value


@pytest.mark.parametrize(
    ("cause", "kind", "told"),
    [
        (httpx.RemoteProtocolError("incomplete chunked read"), Unreachable, "was lost"),
        (httpx.ReadError("reset"), Unreachable, "was lost"),
        (httpx.ReadTimeout("slow"), TimedOut, "too long"),
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
        ("Out of memory", "error"),
        ({"code": 500}, "error"),
    ],
)
async def test_an_error_inside_the_stream_is_told(sent: object, told: str) -> None:
    events, error = await until_failure(Server(lambda _: streamed(sse(HELLO, {"error": sent}))))
    assert events == [Text("Hello")]
    assert type(error) is Refused
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
async def test_an_answer_that_is_no_stream_of_a_reply_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(ServerError):
        await Server(lambda _: httpx.Response(200, **answer)).reply()


@EACH_STRANGER
async def test_an_answer_that_is_no_list_of_models_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(ServerError):
        await Server(lambda _: httpx.Response(200, **answer)).stack.models()


@EACH_STRANGER
async def test_an_answer_that_is_no_version_is_none_or_an_error(answer: dict[str, Any]) -> None:
    try:
        assert await Server(lambda _: httpx.Response(200, **answer)).stack.version() is None
    except ServerError as error:
        assert URL in error.sentence


# Models and version


async def listed(*models: object) -> list[Model]:
    return await Server(answering(200, {"data": models})).stack.models()


async def test_models_are_read_from_the_list_of_today() -> None:
    models = await listed(
        {"id": "x/chat", "created": 0, "owned_by": "x", "custom_metadata": {"model_type": "llm", "provider_id": "x"}},
        {"id": "x/embed", "created": 0, "owned_by": "x", "custom_metadata": {"model_type": "embedding"}},
    )
    assert models == [Model("x/chat", "llm"), Model("x/embed", "embedding")]


async def test_models_are_read_from_the_list_of_old_servers() -> None:
    models = await listed(
        {"identifier": "chat", "model_type": "llm", "provider_id": "x", "provider_resource_id": "y", "metadata": {}},
        {"identifier": "embed", "model_type": "embedding", "provider_id": "x", "metadata": {"dimension": 384}},
    )
    assert models == [Model("chat", "llm"), Model("embed", "embedding")]


async def test_models_of_a_plain_engine_have_no_kind() -> None:
    assert await listed({"id": "llama", "object": "model", "created": 1, "owned_by": "vllm"}) == [Model("llama", None)]


async def test_a_server_without_models_lists_none() -> None:
    assert await listed() == []


def test_only_models_that_generate_text_chat() -> None:
    assert Model("a", "llm").chats
    assert Model("a", None).chats
    assert not Model("a", "embedding").chats
    assert not Model("a", "rerank").chats


async def test_a_refused_key_is_told_when_models_are_listed() -> None:
    with pytest.raises(KeyRefused):
        await Server(answering(401, {"error": {"message": "Authentication required."}})).stack.models()


async def test_the_version_is_what_the_server_says() -> None:
    server = Server(answering(200, {"version": "1.5.0"}))
    assert await server.stack.version() == "1.5.0"
    assert server.requests[0].url.path == "/v1/version"


@pytest.mark.parametrize("body", [{"detail": "Not Found"}, {"error": {"message": "File Not Found"}}, None])
async def test_a_plain_engine_has_no_version(body: object) -> None:
    assert await Server(answering(404, body)).stack.version() is None


@pytest.mark.parametrize("ask", [LlamaStack.models, LlamaStack.version])
@pytest.mark.parametrize(
    ("cause", "kind"),
    [(httpx.ConnectError("refused"), Unreachable), (httpx.ReadTimeout("slow"), TimedOut)],
)
async def test_a_server_that_is_not_there_is_told_when_it_is_asked_about_itself(
    ask: Callable[[LlamaStack], Any], cause: Exception, kind: type[ServerError]
) -> None:
    with pytest.raises(kind):
        await ask(Server(failing(cause)).stack)


async def test_leaving_closes_the_connections() -> None:
    http = httpx.AsyncClient(transport=httpx.MockTransport(friendly))
    async with LlamaStack(URL, http=http) as stack:
        assert await stack.version() == "1.5.0"
    assert http.is_closed
