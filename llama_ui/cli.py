"""The start of both front ends, the page and the terminal."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import gettempdir

from llama_ui import scratch
from llama_ui import settings as options
from llama_ui.hosting import logs
from llama_ui.settings import Settings
from llama_ui.transport import environment

UNUSED = {"OPENAI_BASE_URL", "LLAMA_STACK_ENDPOINT"}  # of other programs, which people may expect to work here


def main() -> int:
    """Serve the page: the console script `llama-ui`, and app.py. Return the exit status."""
    prog = Path(sys.argv[0]).name

    def front(settings: Settings) -> int:
        from llama_ui.web import server  # takes two seconds; a bad option is reported first

        return server.run(settings, prog)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the app as Ctrl+C does
    try:
        return run(prog, sys.argv[1:], front)
    except KeyboardInterrupt:
        return 0


def run(prog: str, argv: Sequence[str], front: Callable[[Settings], int]) -> int:
    """Read the settings, and run the front end or the connection check with them. Return the exit status."""
    settings = options.load(argv, os.environ, prog=prog)
    # Before the client library is imported, which would otherwise log every request.
    logs.configure(settings.log_format)
    _prepare_environment(settings)
    scratch.remove_leftovers(Path(gettempdir()))
    try:
        if settings.check or settings.json:
            from llama_ui.workbench import check

            return asyncio.run(check.main(settings))
        return front(settings)
    except OSError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1


def _prepare_environment(settings: Settings) -> None:
    """Make the variables for proxies and certificates safe for libraries; `settings.environ` has them as they were."""
    for name, value in environment.unusable_variables(settings.environ):
        os.environ.pop(name)
        if value:
            os.environ[name] = value
    # Except this machine from the proxy, in both spellings. Libraries read `no_proxy` first: setting it alone would
    # override `NO_PROXY`, and send the key to the proxy.
    entries = [entry.strip() for name in ("no_proxy", "NO_PROXY") for entry in os.environ.get(name, "").split(",")]
    joined = dict.fromkeys(filter(None, [*entries, "localhost", "127.0.0.1", "::1"]))
    # Among other entries, urllib takes "*" for a host name.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "*" if "*" in joined else ",".join(joined)
    if not settings.base_url:
        for name in filter(settings.environ.get, sorted(UNUSED)):
            print(f"{name} is set, but not used. Set LLAMA_STACK_CLIENT_BASE_URL.", file=sys.stderr)
