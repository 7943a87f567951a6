"""A server that replays the responses of llama-stack 0.1.9 in tests/support/wire. It acts as its own engine."""

import json
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.fake_stack import Endless, Reply, ScriptedServer

WIRE = Path(__file__).parent.parent / "wire" / "0.1.9"
LOOKUPS = ("health", "version", "models", "inspect/routes")


class RecordedServer(ScriptedServer):
    """The interface of `RealServer`. `requests` has the requests in the form in which an engine would get them.

    The tokens of a reply are those of the recording, "tok0 ", "tok1 " and "tok2 ", whatever a test enqueues.
    """

    name = "llama-stack-0.1.9"
    model = "tiny"
    key = None

    @property
    def engine(self) -> Self:
        return self

    def reset(self) -> None:
        super().reset()
        self.bodies: list[dict[str, Any]] = []  # the requests as they were received

    def _app(self) -> Starlette:
        routes = [Route(f"/v1/{name}", _replay(name.split("/")[-1])) for name in LOOKUPS]
        routes.append(Route("/v1/inference/chat-completion", self._chat, methods=["POST"]))
        app = Starlette(routes=[*routes, Route("/{path:path}", _no_such_route, methods=["GET", "POST"])])
        # The original fails at an unknown route: its error handler answers, and the connection is closed.
        app.add_exception_handler(Exception, lambda *_: _json("no-such-route", 400))
        return app

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        if any(message["role"] == "assistant" and "stop_reason" not in message for message in body["messages"]):
            return _json("no-stop-reason", 400)
        if body["model_id"] != self.model:
            return StreamingResponse(_stream("unknown-model", Reply([])), media_type="text/event-stream")
        self.bodies.append(body)
        self.requests.append(_engine_request(body))
        reply = self.replies.popleft() if self.replies else Reply(["tok0 ", "tok1 ", "tok2 "])
        if not body.get("stream"):
            return await _whole(reply)
        return StreamingResponse(_stream(_recording_for(reply), reply), media_type="text/event-stream")


def _json(name: str, status: int = 200) -> Response:
    return JSONResponse(json.loads((WIRE / f"{name}.json").read_bytes()), status)


def _replay(name: str) -> Any:
    return lambda _: _json(name)


async def _no_such_route(request: Request) -> Response:
    raise ValueError("No endpoint found")


def _recording_for(reply: Reply) -> str:
    if reply.status != 200:
        return "failure"
    if any(isinstance(item, dict) and "error" in item for item in reply.items):
        return "breaks-off"
    return "length" if reply.finish_reason == "length" else "reply"


async def _stream(recording: str, reply: Reply) -> AsyncIterator[str]:
    frames = deque(f"{frame}\n\n" for frame in (WIRE / f"{recording}.sse").read_text().split("\n\n") if frame)
    try:
        yield frames.popleft()
        async for item in reply.play():
            if isinstance(item, Endless):
                yield frames[0]
            elif isinstance(item, str) and frames:
                yield frames.popleft()
        for frame in frames:
            yield frame
    finally:
        reply.ended.set()


async def _whole(reply: Reply) -> Response:
    """Answer without streaming: `ChatCompletionResponse` of llama-stack 0.1.9, from its code."""
    try:
        async for _ in reply.play():
            pass
    finally:
        reply.ended.set()
    if _recording_for(reply) not in ("reply", "length"):
        return JSONResponse({"error": {"detail": "Internal server error: An unexpected error occurred."}}, 500)
    stop_reason = "out_of_tokens" if reply.finish_reason == "length" else "end_of_turn"
    message = {"role": "assistant", "content": "tok0 tok1 tok2 ", "stop_reason": stop_reason, "tool_calls": []}
    counts = {"prompt_tokens": 13, "completion_tokens": 3, "total_tokens": 16}
    metrics = [{"metric": name, "value": value, "unit": None} for name, value in counts.items()]
    return JSONResponse({"metrics": metrics, "completion_message": message, "logprobs": None})


def _engine_request(body: dict[str, Any]) -> dict[str, Any]:
    """Convert a legacy request to the OpenAI request that the server sends to its engine."""

    def convert(part: dict[str, Any]) -> dict[str, Any]:
        if part["type"] == "text":
            return part
        data = part["image"]["data"]
        kind = "jpeg" if data.startswith("/9j/") else "png"  # the request does not say which
        return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}

    messages = []
    for message in body["messages"]:
        content = message["content"]
        parts = content if isinstance(content, str) else [convert(part) for part in content]
        messages.append({"role": message["role"], "content": parts})
    sampling = body.get("sampling_params", {})
    strategy = sampling.get("strategy", {})
    options = {name: strategy[name] for name in ("temperature", "top_p") if name in strategy}
    return {
        "model": body["model_id"],
        "messages": messages,
        "max_tokens": sampling.get("max_tokens", 4096),
        **options,
        **({"stop": sampling["stop"]} if "stop" in sampling else {}),
        **({"guided_json": body["response_format"]["json_schema"]} if "response_format" in body else {}),
    }
