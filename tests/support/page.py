"""The page, served in this process for tests that use its API."""

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import wait
from typing import Any

import httpx

from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.web.server import PageServer
from tests.support import SECONDS


@contextlib.contextmanager
def served(**values: Any) -> Iterator[str]:
    """The address of a page with these settings."""
    settings = Settings(**values)
    connection = Connection(settings)
    turns = Turns(settings, connection)
    try:
        with PageServer(settings, connection, turns) as server:
            wait([connection.start()])
            yield server.url
    finally:
        connection.close()


def send(http: httpx.Client, message: object, **options: object) -> str:
    """Send a message to /chat, as a program without gradio_client does. Returns the path of its reply."""
    started = http.post("/gradio_api/call/v2/chat", json={"message": message, **options})
    return f"/gradio_api/call/chat/{started.raise_for_status().json()['event_id']}"


def ask(site: str | httpx.Client, message: object, **options: object) -> str:
    """The event stream of a reply from /chat."""
    http = httpx.Client(base_url=site, timeout=SECONDS, trust_env=False) if isinstance(site, str) else site
    return http.get(send(http, message, **options)).text


@contextlib.contextmanager
def slow_reader(url: str, buffer: int) -> Iterator[socket.socket]:
    """A client that has requested a URL, and receives only what the test reads. The `buffer` has so many bytes."""
    target = httpx.URL(url)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        reader.connect((target.host, target.port))
        reader.sendall(f"GET {target.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield reader


def raw(url: str, request: bytes) -> bytes:
    """The response to exactly these bytes, after which nothing is sent. It ends when the other side closes."""
    there = httpx.URL(url)
    with socket.create_connection((there.host, there.port or 80), SECONDS) as connection:
        connection.sendall(request)
        response = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(65536):
                response += more
    return response


def reply_text(output: list[dict[str, Any]]) -> str:
    """What one output of /chat shows, notes included."""
    return "\n".join(part["text"] for message in output for part in message["content"])


def event_id(url: str, name: str) -> int:
    """The ID of the event with this function behind it."""
    config = httpx.get(f"{url}/config").json()
    return next(int(event["id"]) for event in config["dependencies"] if event["api_name"] == name)


def reply_event(config: dict[str, Any]) -> int:
    """The event of the page that replies to a message that was typed: the first that the box's Stop cancels."""
    stops = [
        event["cancels"] for event in config["dependencies"] if [target[1] for target in event["targets"]] == ["stop"]
    ]
    return next(int(cancelled[0]) for cancelled in stops if cancelled)
