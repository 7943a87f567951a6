"""A simulated Chainlit visitor: the Socket.IO protocol of its page, over one WebSocket."""

import asyncio
import logging
import uuid
from datetime import UTC, datetime
from typing import Any

import aiohttp
import socketio  # type: ignore[import-untyped] # it has no types
from visitors import OnUpdate

# Compression as in Chromium; without it, Chainlit would use less CPU time than with a browser.
DEFLATE_BITS = 15
OPEN_SECONDS = 60.0

# It warns of a WebSocket that ends without a close frame, as in `leave`.
logging.getLogger("engineio.client").setLevel(logging.ERROR)


class ChainlitPage:
    """Sends what the page of Chainlit 2.12 sends."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self._socket: Any = None
        self._ready = asyncio.Event()
        self._reply: asyncio.Future[None] | None = None
        self._length = 0
        self._on_update: OnUpdate = lambda _: None

    async def open(self) -> None:
        session = str(uuid.uuid4())
        async with self._http.post(f"{self._url}/set-session-cookie", json={"session_id": session}) as answer:
            answer.raise_for_status()
        self._socket = socketio.AsyncClient(
            reconnection=False,
            handle_sigint=False,
            http_session=self._http,
            websocket_extra_options={"compress": DEFLATE_BITS},
        )
        # Plain functions, because a coroutine per token would cost this process more than Chainlit.
        self._socket.on("stream_start", lambda step: self._see(step["output"]))
        self._socket.on("stream_token", lambda piece: self._see(piece["token"]))
        self._socket.on("task_end", self._end)
        self._socket.on("clear_call_fn", lambda _: self._ready.set())
        auth = {"clientType": "webapp", "sessionId": session, "threadId": "", "userEnv": "{}", "chatProfile": ""}
        await self._socket.connect(
            self._url,
            headers={"Origin": self._url},
            auth=auth,
            transports=["websocket"],
            socketio_path="/ws/socket.io",
            wait_timeout=OPEN_SECONDS,
        )
        await self._socket.emit("connection_successful")
        await self._socket.emit("fetch_favorites")
        # The greeting contains a task_end, too, and ends with this event.
        await asyncio.wait_for(self._ready.wait(), OPEN_SECONDS)

    async def send(self, text: str, on_update: OnUpdate) -> None:
        self._reply, self._length, self._on_update = asyncio.get_running_loop().create_future(), 0, on_update
        message = {
            "threadId": "",
            "id": str(uuid.uuid4()),
            "name": "User",
            "type": "user_message",
            "output": text,
            "createdAt": datetime.now(UTC).isoformat(),
            "metadata": {"location": f"{self._url}/"},
        }
        await self._socket.emit("client_message", {"message": message, "fileReferences": []})
        await self._reply

    async def stop(self) -> None:
        await self._socket.emit("stop")

    async def leave(self) -> None:
        if self._socket and self._socket.eio.ws:
            await self._socket.eio.ws.close(code=aiohttp.WSCloseCode.GOING_AWAY)

    def _see(self, text: str) -> None:
        if text:
            self._length += len(text)
            self._on_update(self._length)

    def _end(self, _: object) -> None:
        if self._reply and not self._reply.done():
            self._reply.set_result(None)
