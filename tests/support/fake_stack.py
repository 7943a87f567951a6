"""A Llama Stack server that says what a test tells it to, on a real socket."""

import asyncio
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
    """A place in a reply at which the server stays until the test lets it go on."""

    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class Break:
    """A place in a reply at which the server's end of the connection is gone."""


class Endless:
    """From this place of a reply on a token every 10 ms, until nobody listens any more."""


type Item = str | dict[str, Any] | Hold | Break | Endless


@dataclass
class Reply:
    """What the server answers to one chat request: deltas, raw chunks, holds and breaks; or a status with a body.

    A body that is a text is sent as HTML, any other as JSON. `finish_reason` None: the stream just ends.
    """

    items: list[Item]
    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    finish_reason: str | None = "stop"
    ended: threading.Event = field(default_factory=threading.Event)


class FakeStack:
    """Start it with `with FakeStack() as stack`. Replies come from `enqueue`; without any it says "Hello there."."""

    def __init__(self, port: int = 0, certificate: Path | None = None, host: str = "127.0.0.1") -> None:
        """`certificate`: a file with a key, too, for https."""
        self.forget()
        self._certificate = certificate
        self._socket = socket.create_server((host, port))
        self.port = self._socket.getsockname()[1]
        self.url = f"http{'s' * bool(certificate)}://{host}:{self.port}"

    def forget(self) -> None:
        """Everything as at the start."""
        self.requests: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.keys: list[str | None] = []
        self.replies: deque[Reply] = deque()
        self.models: list[dict[str, Any]] = [_model(MODEL, "llm"), _model("fake/embed", "embedding")]
        self.version: str | None = "1.5.0"
        self.routes: list[str] | None = ["/v1/chat/completions"]
        self.key: str | None = None

    def be_an_engine(self, *models: str) -> None:
        """A plain OpenAI-compatible engine with these models: no version, and no list of routes."""
        self.version = self.routes = None
        self.models = [{"id": model, "object": "model", "created": 0, "owned_by": "x"} for model in models]

    def enqueue(
        self,
        *items: Item,
        status: int = 200,
        body: object = None,
        headers: dict[str, str] | None = None,
        finish_reason: str | None = "stop",
    ) -> Reply:
        reply = Reply(list(items), status, body, headers or {}, finish_reason)
        self.replies.append(reply)
        return reply

    def __enter__(self) -> Self:
        routes = [
            Route("/v1/health", lambda _: JSONResponse({"status": "OK"})),
            Route("/v1/version", self._version),
            Route("/v1/inspect/routes", self._routes),
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/openai/v1/chat/completions", self._chat, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes),
            log_level="critical",
            timeout_graceful_shutdown=1,
            ssl_certfile=self._certificate,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Nothing listens any more."""
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def _refused(self, request: Request) -> Response | None:
        self.asked.append(f"{request.method} {request.url.path}")
        sent = request.headers.get("authorization")
        self.keys.append(sent)
        if self.key and sent != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "Authentication required."}}, 401)
        return None

    async def _version(self, request: Request) -> Response:
        if self.version is None:
            return JSONResponse({"detail": "Not Found"}, 404)
        return JSONResponse({"version": self.version})

    async def _routes(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        if self.routes is None:
            return JSONResponse({"detail": "Not Found"}, 404)
        return JSONResponse({"data": [{"route": route, "method": "POST"} for route in self.routes]})

    async def _models(self, request: Request) -> Response:
        return self._refused(request) or JSONResponse({"data": self.models})

    async def _chat(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        if self.routes is not None and request.url.path not in self.routes:
            return JSONResponse({"detail": "Not Found"}, 404)
        body = await request.json()
        self.requests.append(body)
        known = [model["id"] for model in self.models]
        if body["model"] not in known:
            return JSONResponse({"error": {"message": f"Model '{body['model']}' not found."}}, 404)
        reply = self.replies.popleft() if self.replies else Reply(["Hello", " there", "."])
        if isinstance(reply.body, str):
            return HTMLResponse(reply.body, reply.status, reply.headers)
        if reply.body is not None or reply.status != 200:
            return JSONResponse(reply.body, reply.status, reply.headers)
        return StreamingResponse(_stream(reply), media_type="text/event-stream")


def _model(model_id: str, kind: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": 0, "owned_by": "x", "custom_metadata": {"model_type": kind}}


async def wait_for(hold: Hold) -> None:
    """Stays at this place of a reply until the test lets it go on."""
    hold.reached.set()
    while not hold.release.is_set():  # noqa: ASYNC110 - set by a thread of the test
        await asyncio.sleep(0.005)


async def _stream(reply: Reply) -> AsyncIterator[str]:
    def line(chunk: dict[str, Any]) -> str:
        return f"data: {json.dumps({'object': 'chat.completion.chunk', **chunk})}\n\n"

    try:
        for item in reply.items:
            match item:
                case Hold():
                    await wait_for(item)
                case Break():
                    raise ConnectionAbortedError  # uvicorn closes the connection, without an end of the body
                case Endless():
                    while True:
                        yield line({"choices": [{"index": 0, "delta": {"content": "more "}, "finish_reason": None}]})
                        await asyncio.sleep(0.01)
                case str():
                    yield line({"choices": [{"index": 0, "delta": {"content": item}, "finish_reason": None}]})
                case _:
                    yield line(item)
        if reply.finish_reason is None:
            return
        yield line({"choices": [{"index": 0, "delta": {}, "finish_reason": reply.finish_reason}]})
        yield line({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(reply.items)}})
    finally:
        reply.ended.set()
