"""What those who run the app look at: /healthz, /readyz and /metrics. Nothing that was said is in them."""

import asyncio
import time

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from llama_ui.connection import Connection
from llama_ui.errors import ChatError
from llama_ui.visitors import Visitors

# Seconds: how long the server has to answer, and for how long an answer holds, however often it is asked for.
PATIENCE, HOLDS = 5.0, 2.0


def routes(connection: Connection, visitors: Visitors) -> list[Route]:
    readiness = _Readiness(connection, visitors)
    return [
        Route("/healthz", lambda _: PlainTextResponse("ok\n")),
        Route("/readyz", readiness.answer),
        Route("/metrics", lambda _: Response(visitors.metrics.text(), media_type=CONTENT_TYPE_LATEST)),
    ]


class _Readiness:
    """Whether the app can answer visitors: its server does, and it is not about to end."""

    def __init__(self, connection: Connection, visitors: Visitors) -> None:
        self._connection = connection
        self._visitors = visitors
        self._asking = asyncio.Lock()
        self._told = ""
        self._until = 0.0

    async def answer(self, _: Request) -> Response:
        async with self._asking:
            if time.monotonic() >= self._until:
                self._told = await self._ask()
                self._until = time.monotonic() + HOLDS
        told = "The app is being restarted." if self._visitors.draining else self._told
        return PlainTextResponse(f"{told or 'ready'}\n", 503 if told else 200)

    async def _ask(self) -> str:
        """Why not; blank where it is ready."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._connection.answers()
        except ChatError as error:
            return error.sentence
        except TimeoutError:
            return f"The server did not answer within {PATIENCE:.0f} s."
        return ""
