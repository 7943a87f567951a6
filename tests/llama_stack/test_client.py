"""What the server gets and how its replies are read, through the real client on a transport of the test's own."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from llama_ui.core.errors import (
    BadReply,
    Busy,
    ConnectionLost,
    NoAnswer,
    NotALlamaStack,
    ServerError,
    TimedOut,
    UnknownModel,
)
from llama_ui.core.events import Event, Finished, Notice, Reasoning, Text, Usage
from llama_ui.core.messages import SamplingOptions
from llama_ui.llama_stack.client import LlamaStackClient
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, LEGACY, OPENAI_COMPATIBLE, Dialect
from llama_ui.llama_stack.models import Model
from tests.llama_stack.mock_server import (
    HELLO,
    MESSAGES,
    ROUTES,
    URL,
    Body,
    Handler,
    MockServer,
    failing,
    friendly,
    sse,
    status,
    streamed,
)
from tests.support import SECONDS
from tests.support.raw_stack import Answer, raw_stack
from tests.support.received import received


async def until_failure(server: MockServer) -> tuple[list[Event], ServerError]:
    """The events of a reply before it failed, and the failure."""
    events = []
    with pytest.raises(ServerError) as failure:
        async for event in received(server.client.stream("one/model", MESSAGES, SamplingOptions())):
            events.append(event)
    return events, failure.value


# Requests


async def test_a_reply_takes_one_request_with_exactly_this_body() -> None:
    server = MockServer(lambda _: streamed(sse(HELLO)))
    assert await server.reply(SamplingOptions(temperature=0.5, max_tokens=100)) == [Text("Hello")]
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


@pytest.mark.parametrize("dialect", [CHAT_COMPLETIONS, OPENAI_COMPATIBLE, LEGACY], ids=lambda dialect: dialect.route)
async def test_the_request_goes_to_the_route_that_the_server_has_in_its_format(dialect: Dialect) -> None:
    server = MockServer(friendly, routes=("/v1/models", dialect.route))
    assert await server.reply() == [Text("Hello")]
    assert server.log == [f"GET {ROUTES}", f"POST {dialect.route}"]
    assert json.loads(server.posts[0].content) == dialect.payload("one/model", MESSAGES, SamplingOptions())


@pytest.mark.parametrize(
    ("longest", "lookup", "connect"), [(300.0, 60.0, 15.0), (30.0, 30.0, 15.0), (0.5, 0.5, 0.5)], ids=str
)
async def test_lookups_have_a_time_limit_and_chat_requests_one_to_connect(
    longest: float, lookup: float, connect: float
) -> None:
    server = MockServer(friendly, timeout=longest)
    await server.reply()
    waits = [request.extensions["timeout"] for request in server.requests]
    assert [(wait["read"], wait["connect"]) for wait in waits] == [(lookup, connect), (None, connect)]


@pytest.mark.parametrize("key", ["sk-given", None])
async def test_every_request_has_the_key_and_never_one_from_the_environment(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_STACK_CLIENT_API_KEY", "sk-environment")
    monkeypatch.setenv("LLAMA_STACK_CLIENT_BASE_URL", "http://elsewhere.test")
    server = MockServer(friendly, key=key)
    await server.reply()
    await server.client.models()
    await server.client.discovery.identity()
    assert {request.url.path for request in server.requests} == {
        ROUTES,
        "/v1/chat/completions",
        "/v1/models",
        "/v1/version",
    }
    for request in server.requests:
        assert request.url.host == "stack.test"
        assert request.headers.get("Authorization") == (f"Bearer {key}" if key else None)
        assert "X-LlamaStack-Client-Version" not in request.headers, "a server of another version would refuse it"


@pytest.mark.loopback
async def test_user_name_password_and_provider_data_go_with_every_request_and_are_never_shown() -> None:
    refused = Answer((b'{"error": "No: hunter22, sk-provider"}',), "400 Bad Request", {})
    async with raw_stack(refused) as stack:
        url, data = stack.url.replace("//", "//me:hunter22@"), {"openai_api_key": "sk-provider"}
        client = LlamaStackClient(url, provider_data=data)
        assert client.base_url == stack.url
        with pytest.raises(BadReply) as failed:
            async for _ in client.stream("m", MESSAGES, SamplingOptions()):
                pass
        assert "`No: [key], [key]`" in failed.value.sentence
        for request in stack.requests:
            assert request.headers["authorization"] == "Basic bWU6aHVudGVyMjI="
            for name in ("x-llamastack-provider-data", "x-ogx-provider-data"):
                assert json.loads(request.headers[name]) == data
        assert len(stack.requests) == 2
        await client.aclose()


async def test_a_notice_before_the_reply_names_an_option_that_cannot_be_sent() -> None:
    server = MockServer(friendly, routes=(LEGACY.route,))
    notice, *rest = await server.reply(SamplingOptions(temperature=0.5, seed=7))
    assert isinstance(notice, Notice)
    assert notice.sentence.startswith("Seed cannot be sent to this server")
    assert rest == [Text("Hello")]
    assert b"seed" not in server.posts[0].content


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
    content = b": keep-alive\n\n" + sse([1], "text", None, *chunks) + b"data: [DONE]\n\n"
    body = Body(*(bytes([byte]) for byte in content))  # cut anywhere
    assert await MockServer(lambda _: streamed(body)).reply() == [
        Reasoning("A greeting."),
        Text("Hello"),
        Text(" there. 🦙"),
        Finished("stop"),
        Usage(7, 3),
    ]
    assert body.closed.is_set()


async def test_cancelling_the_wait_for_the_next_token_closes_the_connection() -> None:
    body = Body(sse(HELLO), asyncio.Event())
    reading = asyncio.create_task(MockServer(lambda _: streamed(body)).reply())
    await body.waiting.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert body.closed.is_set()


END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


async def test_a_reply_that_only_the_end_of_the_connection_ends_may_be_cut_off() -> None:
    events, error = await until_failure(MockServer(lambda _: streamed(sse(HELLO), connection="close")))
    assert (events, type(error)) == ([Text("Hello")], ConnectionLost)
    assert "in the middle of the reply" in error.sentence
    _, error = await until_failure(MockServer(lambda _: streamed(b": ping\n\n", connection="close")))
    assert "before the reply" in error.sentence
    whole = MockServer(lambda _: streamed(sse(HELLO, END), connection="close"))
    assert await whole.reply() == [Text("Hello"), Finished("stop")]
    known_length = MockServer(lambda _: streamed(sse(HELLO), content_length=str(len(sse(HELLO)))))
    assert await known_length.reply() == [Text("Hello")]


# Failures


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (status(404, {"detail": "Not Found"}), NotALlamaStack),
        (status(409, None), BadReply),
        (status(429, {"error": {"message": "No."}}), Busy),
        (status(503, None), BadReply),
        (failing(httpx.ReadTimeout("slow")), TimedOut),
        (failing(httpx.RemoteProtocolError("gone")), NoAnswer),
        (status(200, {"error": {"message": "Rate limit exceeded", "code": 429}}), Busy),
        (status(200, {"hello": "world"}), NotALlamaStack),
        (status(200, None), NotALlamaStack),
        (lambda _: httpx.Response(200, html="<!doctype html><title>Some other program</title>"), NotALlamaStack),
        (lambda _: streamed(b"data: {\xff\xfe\n\n"), NotALlamaStack),
    ],
)
async def test_a_failure_before_the_reply_is_one_sentence_and_one_request(
    handler: Handler, kind: type[ServerError]
) -> None:
    server = MockServer(handler)
    events, error = await until_failure(server)
    assert (events, type(error)) == ([], kind)
    assert error.sentence.endswith(".") and error.fix.endswith((".", "?"))
    assert len(server.posts) == 1


@pytest.mark.parametrize(
    ("end", "kind", "sentence"),
    [
        (httpx.ReadError("reset"), ConnectionLost, "in the middle of the reply"),
        (httpx.ReadTimeout("slow"), TimedOut, "stalled: nothing came for 300 seconds"),
        (sse({"error": {"message": "Out of `memory`"}}), BadReply, "broke off with an error: `Out of 'memory'`"),
        (sse({"object": "error", "message": "engine died", "code": 500}), BadReply, "failed (500): `engine died`"),
        (sse({"detail": "engine died"}), BadReply, "`engine died`"),
        (b"data: {\n\n", BadReply, "what came next cannot be read"),
    ],
)
async def test_a_failure_in_mid_reply_keeps_what_came(
    end: bytes | Exception, kind: type[ServerError], sentence: str
) -> None:
    body = Body(sse(HELLO), end)
    events, error = await until_failure(MockServer(lambda _: streamed(body)))
    assert (events, type(error)) == ([Text("Hello")], kind)
    assert sentence in error.sentence
    assert body.closed.is_set()


@pytest.mark.loopback
async def test_no_connection_is_used_twice() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers only the first request, as Llama Stack 0.7 does after an error."""
        is_chat = (await reader.readuntil(b"\r\n\r\n")).startswith(b"POST")
        code, body = ("200 OK", sse(HELLO)) if is_chat else ("404 Not Found", b"{}")
        head = f"HTTP/1.1 {code}\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await reader.read()  # until the client closes the connection
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, aclosing(LlamaStackClient(url, timeout=SECONDS)) as client:
        for _ in range(2):
            events = [event async for event in received(client.stream("one/model", MESSAGES, SamplingOptions()))]
            assert events[-1] == Text("Hello")


# A server of another generation in its place


@pytest.mark.parametrize(
    ("before", "after", "code", "body"),
    [
        (CHAT_COMPLETIONS, LEGACY, 400, {"error": {"detail": "No endpoint found for this route"}}),
        (LEGACY, OPENAI_COMPATIBLE, 404, {"detail": "Not Found"}),
        (OPENAI_COMPATIBLE, CHAT_COMPLETIONS, 405, None),
    ],
)
async def test_a_server_replaced_by_one_of_another_generation_answers_the_next_message(
    before: Dialect, after: Dialect, code: int, body: object
) -> None:
    def has_one_route(request: httpx.Request) -> httpx.Response:
        assert server.routes
        return friendly(request) if request.url.path in server.routes else httpx.Response(code, json=body)

    server = MockServer(has_one_route, routes=(before.route,))
    await server.reply()
    server.routes = (after.route,)
    server.requests.clear()
    assert await server.reply() == [Text("Hello")]
    assert server.log == [f"POST {before.route}", f"GET {ROUTES}", f"POST {after.route}"]
    server.requests.clear()
    await server.reply()
    assert server.log == [f"POST {after.route}"]


# Unknown models


def having(*models: str, listed: tuple[str, ...] = ()) -> Handler:
    """A server that has and lists these models. `listed`: lists those, too."""

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": model} for model in (*models, *listed)]})
        if json.loads(request.content)["model"] in models:
            return streamed(sse(HELLO))
        return httpx.Response(404, json={"error": {"message": "Model not found."}})

    return handler


async def test_the_error_for_an_unknown_model_names_the_closest_one() -> None:
    server = MockServer(having("other/mistral", "one/modell"))
    _, error = await until_failure(server)
    assert (type(error), error.sentence) == (UnknownModel, "The server has no model `one/model`.")
    assert "`one/modell`" in error.fix
    assert len(server.posts) == 1


@pytest.mark.parametrize("name", ["model", "engine/one/model"])
async def test_a_model_that_the_server_lists_under_another_prefix_is_requested_under_that_name(name: str) -> None:
    server = MockServer(having("other", name))
    notice = Notice(f"This server's name for the model `one/model` is `{name}`.")
    assert await server.reply() == [notice, Text("Hello")]
    assert await server.reply() == [notice, Text("Hello")]
    names = [json.loads(request.content)["model"] for request in server.posts]
    assert names == ["one/model", name, name], "the name is remembered"


async def test_a_model_whose_other_name_is_refused_too_is_not_requested_again_and_again() -> None:
    server = MockServer(having("other", listed=("engine/one/model",)))
    events, error = await until_failure(server)
    assert [type(event) for event in events] == [Notice]
    assert type(error) is UnknownModel
    assert len(server.posts) == 2


async def test_a_model_that_is_listed_and_refused_is_missing_in_the_engine() -> None:
    _, error = await until_failure(MockServer(having("other", listed=("one/model",))))
    assert "lists the model `one/model`" in error.sentence


async def test_a_model_that_becomes_unknown_in_mid_reply_is_not_requested_again() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"data": [{"id": "model"}]})
        return streamed(sse(HELLO, {"error": {"message": "400: Model 'one/model' not found"}}))

    server = MockServer(handler)
    events, error = await until_failure(server)
    assert (events, type(error)) == ([Text("Hello")], UnknownModel)
    assert len(server.posts) == 1


# Models


async def test_models_are_listed_in_the_servers_order_and_only_some_chat() -> None:
    items = [{"id": "x/chat", "custom_metadata": {"model_type": "llm"}}, None]
    items += [{"identifier": "embed", "model_type": "embedding"}, {"id": "llama"}]
    client = MockServer(status(200, {"data": items})).client
    assert await client.models() == [Model("x/chat", "llm"), Model("embed", "embedding"), Model("llama", None)]
    assert await client.chat_models() == ["x/chat", "llama"]
    assert await MockServer(status(200, items)).client.models() == await client.models(), "a bare list"


@pytest.mark.parametrize("answer", [{"data": []}, {"data": None}, []])
async def test_a_server_may_list_no_models(answer: object) -> None:
    assert await MockServer(status(200, answer)).client.models() == []


async def test_a_server_without_a_list_of_models_may_still_chat() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return friendly(request)
        return httpx.Response(405 if request.url.path == CHAT_COMPLETIONS.route else 404)

    server = MockServer(answer, routes=None)
    assert await server.client.models() == []
    assert await server.reply() == [Text("Hello")]
    server.handler = status(404, None)
    with pytest.raises(NotALlamaStack):
        await server.client.models()


@pytest.mark.parametrize("answer", [{"html": "<title>x</title>"}, {"json": {"hello": 1}}, {"json": None}])
async def test_a_response_that_is_no_list_of_models_is_no_llama_stack(answer: dict[str, Any]) -> None:
    with pytest.raises(NotALlamaStack, match="does not speak Llama Stack"):
        await MockServer(lambda _: httpx.Response(200, **answer)).client.models()
