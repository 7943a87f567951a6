"""Serves the page: one uvicorn server in a thread, while the main thread waits for signals."""

import asyncio
import gc
import logging
import secrets
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack
from importlib import import_module
from typing import Self

import uvicorn
from gradio import networking

from llama_ui.core.errors import ChatError
from llama_ui.hosting import uploads
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.web.app import create_app

log = logging.getLogger(__name__)

DRAIN_SECONDS = 30
CLOSE_SECONDS = 1
PORTS = range(7860, 7960)


def run(settings: Settings, prog: str) -> int:
    """Serve the page until a signal ends it. Return the exit status.

    SIGTERM waits for active replies; SIGINT, or SIGTERM once more, ends them. Raises OSError if it cannot listen.
    """
    _raise_file_limit(settings.max_visitors)
    connection = Connection(settings)
    turns = Turns(settings, connection)
    with ExitStack() as cleanup:
        cleanup.callback(uploads.folder().cleanup)
        cleanup.callback(connection.close)
        server = cleanup.enter_context(PageServer(settings, connection, turns))
        for number in (signal.SIGINT, signal.SIGTERM):  # stopping the server takes at most about a second
            cleanup.callback(signal.signal, number, signal.SIG_IGN)
        cleanup.callback(turns.end)
        if settings.share and not settings.space:
            _share(server.host, server.port)
        _report_zero_gpu_start()
        _warn_if_public(settings, prog)
        print(f"Llama Stack Chat: {server.url}  (Ctrl+C to stop)", flush=True)
        connection.start().add_done_callback(lambda _: _announce(connection, prog))
        try:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit())
            while True:
                time.sleep(3600)
        except SystemExit:
            print(f"Shutting down; waiting up to {DRAIN_SECONDS} s for active replies", flush=True)
            turns.drain(DRAIN_SECONDS)
    return 0


class PageServer(uvicorn.Server):
    """Serves the page in a thread while its context is open. Stopping does not wait for open pages."""

    def __init__(self, settings: Settings, connection: Connection, turns: Turns) -> None:
        self._connection = connection
        self._socket = listen(settings.host, settings.port)
        self.host, self.port = settings.host.strip("[]"), self._socket.getsockname()[1]
        name = "localhost" if self.host == "0.0.0.0" else f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"http://{name}:{self.port}/"
        config = uvicorn.Config(
            create_app(settings, connection, turns),
            log_config=None,
            forwarded_allow_ips=settings.trusted_proxies,
            timeout_keep_alive=20,  # a busy app may take more than the default 5 s to read the next request
            timeout_graceful_shutdown=CLOSE_SECONDS + 1,
        )
        super().__init__(config)
        self._thread = threading.Thread(target=self.run, args=[[self._socket]], name="server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self.started and self._thread.is_alive():
            time.sleep(0.01)
        if not self.started:
            raise OSError("the web server did not start; the log says why.")
        return self

    def __exit__(self, *_: object) -> None:
        self.should_exit = True
        self._thread.join(10)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all connections. uvicorn alone would wait for open pages, then cancel them and log errors."""
        for server in self.servers:
            server.close()  # a page connects again at once
        for connection in list(self.server_state.connections):
            connection.transport.close()
            # Not before: something may still be on its way to a visitor. And not later: the client may not read.
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, connection.transport.abort)
        await super().shutdown(sockets)
        await self._connection.disconnect()


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens on the port, or on the first free one from 7860 on. Raises OSError with a sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in PORTS if port is None else [port]:
        try:
            return socket.create_server((host.strip("[]"), candidate), family=family)
        except OSError as error:
            reason = error
    taken = f"port {port} on {host} is in use or cannot be listened on"
    problem = "no free port was found from 7860 on" if port is None else taken
    raise OSError(f"{problem}; choose another with --port (GRADIO_SERVER_PORT).") from reason


def _share(host: str, port: int) -> None:
    """Open a public link through Gradio's share service. If that fails, the app stays local."""
    try:
        address = networking.setup_tunnel(host, port, secrets.token_urlsafe(32), None, None)
        print(f"* Running on public URL: https://{address.partition('://')[2]}", flush=True)
    except Exception as error:
        print(f"Could not create share link: {error or type(error).__name__}", flush=True)
        print("Check your internet connection, and Gradio's status page: https://status.gradio.app", flush=True)


def _report_zero_gpu_start() -> None:
    """Tell a ZeroGPU Space that the app runs, which the package `spaces` otherwise does in `Blocks.launch`."""
    if "spaces" not in sys.modules:  # imported by app.py where it is installed
        return
    try:
        if import_module("spaces.config").Config.zero_gpu:
            import_module("spaces.zero").startup()
    except Exception:
        log.exception("The start of this ZeroGPU Space could not be reported")


def _warn_if_public(settings: Settings, prog: str) -> None:
    if settings.unreachable:
        print(f"{prog}: {settings.unreachable}", file=sys.stderr)
    if settings.public and not settings.logins:
        option = "The secret LLAMA_UI_AUTH" if settings.space else "--auth FILE"
        print(f"{prog}: Anyone with this page's address can use your server. {option} adds a login.", file=sys.stderr)


def _announce(connection: Connection, prog: str) -> None:
    """Print which server was found."""
    try:
        print(connection.summary(), flush=True)
    except ChatError as error:
        print(f"{prog}: {error}", file=sys.stderr, flush=True)
    # Modules stay in memory; searching them for garbage would delay every visitor now and then.
    gc.collect()
    gc.freeze()


def _raise_file_limit(visitors: int) -> None:
    """Raise the limit on open files, where it is too low for three connections per visitor and some more."""
    if sys.platform == "win32":  # no such limit
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 5 * visitors + 500
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
