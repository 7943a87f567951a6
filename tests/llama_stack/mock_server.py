"""A server in place of the network: `MockServer` answers the real client by a function of the test."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

from llama_ui.core.events import Event
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.llama_stack.client import LlamaStackClient
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, LEGACY, OPENAI_COMPATIBLE
from tests.support.received import received

URL = "http://stack.test:8321"
ROUTES = "/v1/inspect/routes"
MESSAGES = [Message("system", "Be brief."), Message("user", "Hi.")]
HELLO = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}]}
LEGACY_HELLO = {"event": {"event_type": "progress", "delta": {"type": "text", "text": "Hello"}, "stop_reason": None}}

type Handler = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


class MockServer:
    """Answers by `handler`, and lists `routes` unless they are None. Both may change, as if the server was replaced."""

    def __init__(
        self,
        handler: Handler,
        key: str | None = None,
        url: str = URL,
        routes: tuple[str, ...] | None = (CHAT_COMPLETIONS.route,),
        timeout: float = 300.0,
    ) -> None:
        self.requests: list[httpx.Request] = []
        self.handler = handler
        self.routes = routes
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer), follow_redirects=True)
        self.client = LlamaStackClient(url, key, self.http, timeout)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.routes is not None and request.url.path.endswith(ROUTES):
            return httpx.Response(200, json={"data": [{"route": route, "method": "post"} for route in self.routes]})
        response = self.handler(request)
        return response if isinstance(response, httpx.Response) else await response

    @property
    def log(self) -> list[str]:
        """The requests so far, each as method and path."""
        return [f"{request.method} {request.url.path}" for request in self.requests]

    @property
    def posts(self) -> list[httpx.Request]:
        """The chat requests so far."""
        return [request for request in self.requests if request.method == "POST"]

    async def reply(self, options: SamplingOptions = SamplingOptions()) -> list[Event]:  # noqa: B008
        """The events of a reply."""
        return [event async for event in received(self.client.stream("one/model", MESSAGES, options))]


class Body(httpx.AsyncByteStream):
    """A body in parts: sends bytes, waits for an event, breaks the connection with an exception."""

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
    """Encodes chunks as server-sent events."""
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def streamed(content: bytes | Body, **headers: str) -> httpx.Response:
    """A streaming response, chunked unless other headers are given."""
    named = {name.replace("_", "-"): value for name, value in (headers or {"transfer_encoding": "chunked"}).items()}
    body = content if isinstance(content, Body) else Body(content)
    return httpx.Response(200, headers={"content-type": "text/event-stream"} | named, stream=body)


def friendly(request: httpx.Request) -> httpx.Response:
    """Replies at the chat routes, and has a version and no models."""
    match request.url.path:
        case "/v1/models":
            return httpx.Response(200, json={"data": []})
        case "/v1/version":
            return httpx.Response(200, json={"version": "1.5.0"})
        case CHAT_COMPLETIONS.route | OPENAI_COMPATIBLE.route:
            return streamed(sse(HELLO))
        case LEGACY.route:
            return streamed(sse(LEGACY_HELLO))
    return httpx.Response(404, json={"detail": "Not Found"})


def status(code: int, body: object) -> Handler:
    """A handler that returns this response."""
    return lambda _: httpx.Response(code, json=body)


def failing(error: Exception) -> Handler:
    """A handler that raises this error."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    return fail
