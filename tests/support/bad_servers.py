"""Broken servers on real sockets, and an address at which one server replaces another."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from tests.support.app_process import free_port

HTML = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 19\r\n\r\n<h1>My router</h1>\n"


class RawServer:
    """Answers each request with the same bytes and closes the connection. Never answers if `answer` is None."""

    def __init__(self, answer: bytes | None, greeting: bytes = b"", port: int = 0) -> None:
        """`greeting`: bytes to send before the request."""
        self._answer, self._greeting = answer, greeting
        self._socket = socket.create_server(("127.0.0.1", port))
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._socket.shutdown(socket.SHUT_RDWR)  # ends the wait for a connection
        self._thread.join(10)
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:  # the client may have disconnected
            connection.sendall(self._greeting)
            _read_request(connection)
            if self._answer is None:
                self._ended.wait()
            else:
                connection.sendall(self._answer)


def _read_request(connection: socket.socket) -> None:
    """Read the whole request. Closing a socket with unread data would reset the connection and lose the answer."""
    with connection.makefile("rb") as stream:
        length = 0
        while (line := stream.readline().lower()) not in (b"", b"\r\n"):
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
        stream.read(length)


class Address:
    """A fixed port for one server after another."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._cleanup = contextlib.ExitStack()

    def clear(self) -> None:
        """Stop the current server, if any."""
        self._cleanup.close()

    def put[T](self, server: Callable[..., AbstractContextManager[T]], *arguments: Any, **options: Any) -> T:
        """Start a server in place of the current one."""
        self.clear()
        return self._cleanup.enter_context(server(*arguments, port=self.port, **options))


def self_signed(path: Path) -> Path:
    """Create a file with a certificate for 127.0.0.1 and its key. Needs the `openssl` command."""
    key = path.with_suffix(".key")
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    extension = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", *options.split(), *extension, "-keyout", key, "-out", path], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path
