"""Scripted Llama Stack servers on real sockets."""

import asyncio
import contextlib
import json
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MODEL = "fake/llama"
VISION_MODEL = "fake/Llama3.2-11B-Vision-Instruct"


@dataclass
class Hold:
    """A point in a reply at which the server waits until the test sets `release`."""

    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class Break:
    """A point in a reply at which the server closes the connection."""


class Endless:
    """A point in a reply after which the server sends a token every 10 ms until the client disconnects."""


type Item = str | dict[str, Any] | Hold | Break | Endless


@dataclass
class Reply:
    """The answer to one chat request: deltas (str), raw chunks (dict), holds and breaks; or a status with a body.

    A str body is sent as HTML, any other as JSON. With `finish_reason` None the stream ends without a last chunk.
    """

    items: list[Item]
    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    finish_reason: str | None = "stop"
    ended: threading.Event = field(default_factory=threading.Event)

    async def play(self) -> AsyncIterator[str | dict[str, Any] | Endless]:
        """Yield the deltas and chunks when they are due."""
        for item in self.items:
            match item:
                case Hold():
                    item.reached.set()
                    while not item.release.is_set():  # noqa: ASYNC110 - set by the thread of the test
                        await asyncio.sleep(0.005)
                case Break():
                    raise ConnectionAbortedError  # uvicorn then closes the connection in the middle of the body
                case Endless():
                    while True:
                        yield item
                        await asyncio.sleep(0.01)
                case _:
                    yield item


class ScriptedServer:
    """A server in a thread that answers chat requests with the replies that a test enqueues.

    Subclasses define `_app`. `with FakeStack() as stack:` starts and stops the server.
    """

    def __init__(self, port: int = 0, certificate: Path | None = None, host: str = "127.0.0.1") -> None:
        """`certificate`: a file with a certificate and its key, for https."""
        self.reset()
        self._certificate = certificate
        self._socket = socket.create_server((host, port))
        self.port = self._socket.getsockname()[1]
        self.url = f"http{'s' * bool(certificate)}://{host}:{self.port}"

    def reset(self) -> None:
        """Reset everything that a test can change."""
        self.requests: list[dict[str, Any]] = []
        self.replies: deque[Reply] = deque()

    def enqueue(self, *items: Item, **options: Any) -> Reply:
        """Enqueue a reply with these fields of `Reply`."""
        reply = Reply(list(items), **options)
        self.replies.append(reply)
        return reply

    def __enter__(self) -> Self:
        config = uvicorn.Config(self._app(), log_level=99, timeout_graceful_shutdown=1, ssl_certfile=self._certificate)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close all connections, and the port."""
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def _app(self) -> Starlette:
        raise NotImplementedError


class FakeStack(ScriptedServer):
    """An OGX server. Without an enqueued reply, it answers "Hello there."."""

    def reset(self) -> None:
        super().reset()
        self.calls: list[str] = []  # method and path of each request
        self.keys: list[str | None] = []  # its Authorization header
        self.models: list[dict[str, Any]] = [_model(MODEL, "llm"), _model("fake/embed", "embedding")]
        self.version: str | None = "1.5.0"
        self.routes: list[str] | None = ["/v1/chat/completions"]
        self.key: str | None = None

    def act_as_engine(self, *models: str) -> None:
        """Act as a plain OpenAI-compatible engine with these models, without a version or a list of routes."""
        self.version = self.routes = None
        self.models = [{"id": model, "object": "model", "created": 0, "owned_by": "x"} for model in models]

    def _app(self) -> Starlette:
        routes = [
            Route("/v1/health", lambda _: JSONResponse({"status": "OK"})),
            Route("/v1/version", self._version),
            Route("/v1/inspect/routes", self._routes),
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/openai/v1/chat/completions", self._chat, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    def _rejection(self, request: Request, exists: object = True) -> Response | None:
        """Record the request. Returns an answer if its key is wrong or its route does not exist."""
        self.calls.append(f"{request.method} {request.url.path}")
        authorization = request.headers.get("authorization")
        self.keys.append(authorization)
        if self.key and authorization != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "Authentication required."}}, 401)
        return None if exists else JSONResponse({"detail": "Not Found"}, 404)

    async def _version(self, request: Request) -> Response:
        if self.version is None:
            return JSONResponse({"detail": "Not Found"}, 404)
        return JSONResponse({"version": self.version})

    async def _routes(self, request: Request) -> Response:
        routes = [{"route": route, "method": "POST"} for route in self.routes or ()]
        return self._rejection(request, exists=routes) or JSONResponse({"data": routes})

    async def _models(self, request: Request) -> Response:
        return self._rejection(request) or JSONResponse({"data": self.models})

    async def _chat(self, request: Request) -> Response:
        if rejection := self._rejection(request, exists=self.routes is None or request.url.path in self.routes):
            return rejection
        body = await request.json()
        self.requests.append(body)
        if body["model"] not in [model["id"] for model in self.models]:
            return JSONResponse({"error": {"message": f"Model '{body['model']}' not found."}}, 404)
        reply = self.replies.popleft() if self.replies else Reply(["Hello", " there", "."])
        if isinstance(reply.body, str):
            return HTMLResponse(reply.body, reply.status, reply.headers)
        if reply.body is not None or reply.status != 200:
            return JSONResponse(reply.body, reply.status, reply.headers)
        if not body.get("stream"):
            return await _whole(request, reply, body["model"])
        return StreamingResponse(_stream(reply), media_type="text/event-stream")


def _model(model_id: str, kind: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": 0, "owned_by": "x", "custom_metadata": {"model_type": kind}}


async def _whole(request: Request, reply: Reply, model: str) -> Response:
    """Answer with a completion in one piece, which is sent when all of the reply has been played."""
    playing = asyncio.ensure_future(_completion(reply))
    leaving = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait([playing, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not playing.done():
            return Response()  # which nobody receives
        completion = playing.result()
        return JSONResponse({"model": model, **completion}, 500 if "error" in completion else 200)
    finally:
        for task in (playing, leaving):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionAbortedError):
            await playing
        reply.ended.set()


async def disconnected(request: Request) -> None:
    """Wait until the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _completion(reply: Reply) -> dict[str, Any]:
    """The deltas of the reply as one message, with the shape that OGX sends; or its error."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    async for item in reply.play():
        if isinstance(item, dict) and "error" in item:
            return item
        deltas = [choice["delta"] for choice in item["choices"]] if isinstance(item, dict) else [{"content": item}]
        for name, text in [pair for delta in deltas if not isinstance(item, Endless) for pair in delta.items()]:
            message[name] = message.get(name, "") + text
    usage = {"prompt_tokens": 7, "completion_tokens": len(reply.items), "total_tokens": 7 + len(reply.items)}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason, "logprobs": None}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "choices": [choice], "usage": usage}


async def _stream(reply: Reply) -> AsyncIterator[str]:
    def event(chunk: dict[str, Any]) -> str:
        return f"data: {json.dumps({'object': 'chat.completion.chunk', **chunk})}\n\n"

    def delta(content: dict[str, str], finish_reason: str | None = None) -> str:
        return event({"choices": [{"index": 0, "delta": content, "finish_reason": finish_reason}]})

    try:
        async for item in reply.play():
            if isinstance(item, dict):
                yield event(item)
            else:
                yield delta({"content": item if isinstance(item, str) else "more "})
        if reply.finish_reason is None:
            return
        yield delta({}, reply.finish_reason)
        yield event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(reply.items)}})
    finally:
        reply.ended.set()
