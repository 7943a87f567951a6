"""Routes for whoever runs the app: /healthz, /readyz and /metrics. They contain nothing of a conversation."""

import asyncio
import time

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from llama_ui.core.errors import ChatError, Restarting, TimedOut
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection

# Seconds.
CHECK_TIMEOUT, CACHE_SECONDS = 5.0, 2.0


def routes(connection: Connection, turns: Turns) -> list[Route]:
    return [
        Route("/healthz", lambda _: PlainTextResponse("ok\n")),
        Route("/readyz", _Readiness(connection, turns).respond),
        Route("/metrics", lambda _: Response(turns.metrics.text(), media_type=CONTENT_TYPE_LATEST)),
    ]


class _Readiness:
    """Whether the server answers. The result is cached: anybody may ask, and each check is a request to the server."""

    def __init__(self, connection: Connection, turns: Turns) -> None:
        self._connection = connection
        self._turns = turns
        self._lock = asyncio.Lock()
        self._problem = ""
        self._expires = 0.0

    async def respond(self, _: Request) -> Response:
        async with self._lock:
            if time.monotonic() >= self._expires:
                self._problem = await self._check()
                self._expires = time.monotonic() + CACHE_SECONDS
        problem = Restarting.__name__ if self._turns.draining else self._problem
        return PlainTextResponse(f"not ready: {problem}\n" if problem else "ready\n", 503 if problem else 200)

    async def _check(self) -> str:
        """The class name of the error, which tells strangers nothing else; blank if there is none."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await self._connection.check_ready()
        except ChatError as error:
            return type(error).__name__
        except TimeoutError:
            return TimedOut.__name__
        return ""
