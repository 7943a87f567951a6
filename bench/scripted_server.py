"""An OpenAI-compatible server that streams words at a fixed rate, and records when each request begins and ends.

    python bench/scripted_server.py PORT

PUT /script sets the replies: `{"tokens", "rate" (per second), "wait" (seconds before the first token)}`. A request with
`top_logprobs` gets so many likely tokens in place of each. GET /log
returns `[begin, first_token, end]` of each request, in seconds of the system's monotonic clock, or null. Each word has
a due time counted from the request, so that a late one does not delay the next.
"""

import asyncio
import sys
import time
from dataclasses import dataclass, field

import orjson
import uvloop
from aiohttp import web

MODEL = "bench"
WORDS = ("lorem ", "ipsum ", "dolor ", "sit ", "amet, ", "consectetur ", "adipiscing ", "elit. ")
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


@dataclass
class Script:
    """The reply to every request."""

    tokens: int = 300
    rate: float = 30.0
    wait: float = 0.0


@dataclass
class Server:
    """The routes. `log` has an entry for each chat request."""

    script: Script = field(default_factory=Script)
    log: list[list[float | None]] = field(default_factory=list)

    async def set_script(self, request: web.Request) -> web.Response:
        self.script = Script(**await request.json())
        self.log.clear()
        return web.Response()

    async def get_log(self, _: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(self.log), content_type="application/json")

    async def chat(self, request: web.Request) -> web.StreamResponse:
        entry: list[float | None] = [time.monotonic(), None, None]
        self.log.append(entry)
        try:
            likely = orjson.loads(await request.read()).get("top_logprobs", 0)
            response = web.StreamResponse(headers=HEADERS)
            await response.prepare(request)
            await self._stream(response, entry, likely)
            return response
        finally:
            entry[2] = time.monotonic()

    async def _stream(self, response: web.StreamResponse, entry: list[float | None], likely: int) -> None:
        script = self.script
        begin = time.monotonic() + script.wait
        for number in range(script.tokens):
            if (early := begin + number / script.rate - time.monotonic()) > 0:
                await asyncio.sleep(early)
            word = WORDS[number % len(WORDS)]
            await response.write(
                _chunk({"content": word}, logprobs=_logprobs(word, number, likely) if likely else None)
            )
            entry[1] = entry[1] or time.monotonic()
        await response.write(_chunk({}, "stop"))
        usage = {"prompt_tokens": 1, "completion_tokens": script.tokens, "total_tokens": script.tokens + 1}
        await response.write(_line({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")


def _chunk(delta: dict[str, str], finish_reason: str | None = None, logprobs: object = None) -> bytes:
    told = {"logprobs": logprobs} if logprobs else {}
    return _line({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason, **told}]})


def _logprobs(word: str, number: int, likely: int) -> object:
    """The probabilities of a token, and of so many in its place, as OpenAI's API has them."""
    top = [
        {"token": f"{word}{index}" if index else word, "logprob": -0.1 * (number % 30 + index)}
        for index in range(likely)
    ]
    return {"content": [{**top[0], "top_logprobs": top}]}


def _line(chunk: dict[str, object]) -> bytes:
    whole = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": MODEL, **chunk}
    return b"data: " + orjson.dumps(whole) + b"\n\n"


def main(port: int) -> None:
    server = Server()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_put("/script", server.set_script)
    app.router.add_get("/log", server.get_log)
    app.router.add_get("/v1/models", lambda _: _json({"data": [{"id": MODEL, "object": "model"}]}))
    app.router.add_get("/v1/version", lambda _: _json({"version": "1.5.0"}))
    app.router.add_get("/v1/inspect/routes", lambda _: _json({"data": [{"route": "/v1/chat/completions"}]}))
    app.router.add_get("/v1/health", lambda _: _json({"status": "OK"}))
    app.router.add_post("/v1/chat/completions", server.chat)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None, backlog=1024, handler_cancellation=True)


async def _json(body: object) -> web.Response:
    return web.json_response(body)


if __name__ == "__main__":
    main(int(sys.argv[1]))
