"""A Hugging Face Hub with one file, which it serves as the tests say."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from llama_ui.local_stack.catalog import BETTER_MODELS
from tests.support import SECONDS

COMMIT = "c" * 40


class FakeHub:
    """Answers as the Hub does: HEAD with the file's hash and a redirect to where its content is."""

    def __init__(self, name: str, content: bytes) -> None:
        """The file of a better model, with this content."""
        model = BETTER_MODELS[name]
        self.path = f"/{model.repository}/resolve/%s/{model.file}"
        self.content = content
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.size = len(content)  # as announced
        self.ends_at: int | None = None  # each response ends after these bytes
        self.breaks_at: list[int] = []  # one response each breaks off there, though it announced more
        self.holds_at: int | None = None  # goes on after these bytes when the test lets it
        self.held, self.release = threading.Event(), threading.Event()
        self.requests: list[tuple[str, str]] = []  # method, and what range was requested

    def __enter__(self) -> Self:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.hub.requests.append(("HEAD", ""))
        if self.path not in (self.hub.path % "main", self.hub.path % COMMIT):
            return self._answer(404, **{"X-Error-Code": "EntryNotFound"})
        linked = {"X-Linked-ETag": f'"{self.hub.sha256}"', "X-Linked-Size": str(self.hub.size)}
        # On another host, as the Hub's storage is: the client would ask the Hub itself for the redirect's target.
        self._answer(302, Location=f"http://localhost:{self.hub.port}/content", **linked)

    def do_GET(self) -> None:
        if self.path != "/content":  # the Hub's client also asks for things about itself
            return self._answer(404)
        hub, wanted = self.hub, self.headers.get("Range", "")
        hub.requests.append(("GET", wanted))
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        content = hub.content[start : hub.ends_at]
        headers = {} if hub.ends_at else {"Content-Length": str(len(content))}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(hub.content) - 1}/{len(hub.content)}"
        self._answer(206 if wanted else 200, **headers)
        if hub.breaks_at:
            content = content[: hub.breaks_at.pop() - start]
        if hub.holds_at is not None:
            self.wfile.write(content[: hub.holds_at])
            hub.held.set()
            assert hub.release.wait(SECONDS)
            content = content[hub.holds_at :]
        try:
            self.wfile.write(content)
        except OSError:  # the download was cancelled
            self.close_connection = True

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
