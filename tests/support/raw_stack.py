"""A Llama Stack on a real socket that answers with bytes of the test's own."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

SSE = {"content-type": "text/event-stream"}
ROUTES = json.dumps({"data": [{"route": "/v1/chat/completions", "method": "post"}]}).encode()


@dataclass
class Answer:
    """An answer: each part of its body is sent by itself, after a turn of the event loop."""

    parts: tuple[bytes, ...]
    status: str = "200 OK"
    headers: dict[str, str] = field(default_factory=SSE.copy)
    stays_open: bool = False  # until the client closes the connection
    breaks: bool = False  # the connection is closed in the middle of the body


@dataclass
class Request:
    """A request that was received."""

    method: str
    path: str
    headers: dict[str, str]  # with names in lower case
    body: bytes


class RawStack:
    """Answers the chat requests in order, the last answer again and again, and each path in `pages` with its bytes."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = deque(answers)
        self.pages: dict[str, Answer] = {
            "/v1/inspect/routes": Answer((ROUTES,), headers={"content-type": "application/json"})
        }
        self.requests: list[Request] = []
        self.closed = asyncio.Event()  # a connection that stayed open was closed by the client
        self.url = ""

    @property
    def posts(self) -> list[Request]:
        """The chat requests so far."""
        return [request for request in self.requests if request.method == "POST"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection, for one request."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append(Request(method, path, headers, body))
            if method == "POST":
                answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
            else:
                answer = self.pages.get(path, Answer((b'{"detail": "Not Found"}',), "404 Not Found", {}))
            lines = [f"{name}: {value}\r\n" for name, value in answer.headers.items()]
            writer.write(f"HTTP/1.1 {answer.status}\r\n{''.join(lines)}transfer-encoding: chunked\r\n\r\n".encode())
            for part in filter(None, answer.parts):
                writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                await writer.drain()
                await asyncio.sleep(0)
            if answer.breaks:
                writer.close()
                return
            if answer.stays_open:
                await reader.read()
                self.closed.set()
            writer.write(b"0\r\n\r\n")
        writer.close()


@asynccontextmanager
async def raw_stack(*answers: Answer) -> AsyncIterator[RawStack]:
    """Serves the answers at `url`."""
    stack = RawStack(*answers)
    async with await asyncio.start_server(stack.serve, "127.0.0.1") as server:
        stack.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield stack
