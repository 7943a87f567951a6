"""llama-stack 0.1.9, played from the bodies in tests/support/wire. It is its own engine, with scripts and requests."""

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.app_process import free_port
from tests.support.fake_stack import Break, Endless, Hold, Item, Reply, wait_for

WIRE = Path(__file__).parent.parent / "wire" / "0.1.9"
ASKED_OF_ITSELF = ("health", "version", "models", "inspect/routes")


class RecordedServer:
    """As `RealServer`: what it is asked for is kept in `requests`, as an engine behind it would get it."""

    name = "llama-stack-0.1.9"
    model = "tiny"

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.engine = self
        self.forget()

    def forget(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.bodies: list[dict[str, Any]] = []  # the same as they came
        self.replies: deque[Reply] = deque()

    def enqueue(self, *items: Item, status: int = 200, body: object = None, finish_reason: str = "stop") -> Reply:
        """The tokens are those of the record, "tok0 ", "tok1 " and "tok2 ", whatever is asked for here."""
        reply = Reply(list(items), status, body, finish_reason=finish_reason)
        self.replies.append(reply)
        return reply

    def __enter__(self) -> Self:
        routes = [Route(f"/v1/{name}", _played(name.split("/")[-1])) for name in ASKED_OF_ITSELF]
        routes.append(Route("/v1/inference/chat-completion", self._chat, methods=["POST"]))
        app = Starlette(routes=[*routes, Route("/{path:path}", _no_such_route, methods=["GET", "POST"])])
        # It fails where it finds no route: what is answered then comes from the handler, and the connection is closed.
        app.add_exception_handler(Exception, lambda *_: _json("no-such-route", 400))
        config = uvicorn.Config(app, port=self.port, log_level=99, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        return self.await_ready()

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def await_ready(self) -> Self:
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.01)
        assert self._server.started, f"port {self.port} cannot be listened on"
        return self

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        if any(said["role"] == "assistant" and "stop_reason" not in said for said in body["messages"]):
            return _json("no-stop-reason", 400)
        if body["model_id"] != self.model:
            return StreamingResponse(_play("unknown-model", Reply([])), media_type="text/event-stream")
        self.bodies.append(body)
        self.requests.append(_for_an_engine(body))
        reply = self.replies.popleft() if self.replies else Reply(["tok0 ", "tok1 ", "tok2 "])
        return StreamingResponse(_play(_record(reply), reply), media_type="text/event-stream")


def _json(record: str, status: int = 200) -> Response:
    return JSONResponse(json.loads((WIRE / f"{record}.json").read_bytes()), status)


def _played(record: str) -> Any:
    return lambda _: _json(record)


async def _no_such_route(request: Request) -> Response:
    raise ValueError("No endpoint found")


def _record(reply: Reply) -> str:
    if reply.status != 200:
        return "failure"
    if any(isinstance(item, dict) and "error" in item for item in reply.items):
        return "breaks-off"
    return "length" if reply.finish_reason == "length" else "reply"


async def _play(record: str, reply: Reply) -> AsyncIterator[str]:
    frames = deque(f"{frame}\n\n" for frame in (WIRE / f"{record}.sse").read_text().split("\n\n") if frame)
    try:
        yield frames.popleft()
        for item in reply.items:
            match item:
                case Hold():
                    await wait_for(item)
                case Break():
                    raise ConnectionAbortedError
                case Endless():
                    while True:
                        yield frames[0]
                        await asyncio.sleep(0.01)
                case str() if frames:
                    yield frames.popleft()
        for frame in frames:
            yield frame
    finally:
        reply.ended.set()


def _for_an_engine(body: dict[str, Any]) -> dict[str, Any]:
    """A legacy request as the server hands it on to an engine that speaks OpenAI's language."""

    def part(part: dict[str, Any]) -> dict[str, Any]:
        if part["type"] == "text":
            return part
        data = part["image"]["data"]
        kind = "jpeg" if data.startswith("/9j/") else "png"  # it is told no kind
        return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}

    messages = [
        {"role": said["role"], "content": content if isinstance(content, str) else [part(item) for item in content]}
        for said in body["messages"]
        for content in [said["content"]]
    ]
    sampling = body.get("sampling_params", {})
    strategy = sampling.get("strategy", {"type": "greedy"})
    handed_on = {name: strategy[name] for name in ("temperature", "top_p") if name in strategy}
    return {
        "model": body["model_id"],
        "messages": messages,
        "max_tokens": sampling.get("max_tokens", 4096),
        **handed_on,
    }
