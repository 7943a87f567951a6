"""What those who run the app look at: /healthz, /readyz and /metrics. Nothing that was said is in them."""

import asyncio
import time

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from llama_ui.core.errors import ChatError, Restarting, TimedOut
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection

# Seconds: how long the server has to answer, and for how long an answer holds, however often it is asked for.
PATIENCE, CACHE_SECONDS = 5.0, 2.0


def routes(connection: Connection, turns: Turns) -> list[Route]:
    readiness = _Readiness(connection, turns)
    return [
        Route("/healthz", lambda _: PlainTextResponse("ok\n")),
        Route("/readyz", readiness.answer),
        Route("/metrics", lambda _: Response(turns.metrics.text(), media_type=CONTENT_TYPE_LATEST)),
    ]


class _Readiness:
    """Whether the app can answer visitors: its server does, and it is not about to end."""

    def __init__(self, connection: Connection, turns: Turns) -> None:
        self._connection = connection
        self._turns = turns
        self._asking = asyncio.Lock()
        self._wrong = ""
        self._until = 0.0

    async def answer(self, _: Request) -> Response:
        async with self._asking:
            if time.monotonic() >= self._until:
                self._wrong = await self._ask()
                self._until = time.monotonic() + CACHE_SECONDS
        wrong = Restarting.__name__ if self._turns.draining else self._wrong
        return PlainTextResponse(f"not ready: {wrong}\n" if wrong else "ready\n", 503 if wrong else 200)

    async def _ask(self) -> str:
        """The kind of what is wrong (`errors.py`), which tells strangers nothing; blank where it is ready."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._connection.check_ready()
        except ChatError as error:
            return type(error).__name__
        except TimeoutError:
            return TimedOut.__name__
        return ""
