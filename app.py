"""Starts the chat page: settings -> page -> the server, or the local stack where there is none."""

import sys

if sys.version_info < (3, 12):  # noqa: UP036 - said plainly here; the imports below would fail less plainly
    sys.exit(f"app.py needs Python 3.12 or newer; this is Python {sys.version.split()[0]}.")

import gc
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NoReturn

try:
    from llama_ui import cli
    from llama_ui.core.errors import ChatError
    from llama_ui.llama_stack.connection import Connection
    from llama_ui.settings import Settings
except ModuleNotFoundError as missing:
    sys.exit(f"app.py: the package {missing.name} is missing; install all with: pip install -r requirements.txt")


# Seconds for the replies that are being given when the app is told to end.
GRACE = 30


class Draining(Exception):
    """The app is told to end, and has replies to give to their end."""


def main(argv: Sequence[str]) -> int:
    """Runs the app until it is told to end. Returns the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the app as Ctrl-C does
    try:
        return cli.run("app.py", argv, _run)
    except KeyboardInterrupt:
        return 0


def _run(settings: Settings) -> int:
    from llama_ui.hosting import uploads
    from llama_ui.hosting.turns import Turns
    from llama_ui.web import app  # takes two seconds; a bad option is told before

    _make_room(settings.max_visitors)
    connection = Connection(settings)
    turns = Turns(settings, connection)
    with ExitStack() as at_the_end:  # all of it, also if told again to end
        at_the_end.callback(uploads.folder().cleanup)
        at_the_end.callback(app.close_tunnels)
        at_the_end.callback(connection.close)
        at_the_end.callback(turns.end)
        url = app.launch(app.build(settings, connection, turns), settings, connection, turns)
        _warn(settings)
        print(f"Llama Stack Chat: {url}  (Ctrl-C ends it)", flush=True)
        # Only now, so that it does not hold up the page.
        connection.start().add_done_callback(lambda _: _announce(connection))
        try:
            signal.signal(signal.SIGTERM, _drain)
            threading.Event().wait()
        except Draining:
            print(f"Ending, as soon as the replies that are being given have ended, or in {GRACE} s.", flush=True)
            turns.drain(GRACE)
        finally:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
    return 0


def _drain(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a second one is not waited for
    raise Draining


def _warn(settings: Settings) -> None:
    """Says in plain words what it means that strangers may come."""
    if settings.public and not settings.logins:
        print(
            "app.py: Whoever has this page's address can chat here, at your server's expense. "
            f"{'The secret LLAMA_UI_AUTH' if settings.space else '--auth FILE'} asks for a name and a password.",
            file=sys.stderr,
            flush=True,
        )


def _make_room(visitors: int) -> None:
    """Lets the app open as many files as it may: each visitor's page holds up to three connections, and 256 files are
    all that some systems begin with."""
    if sys.platform == "win32":  # has no such limit
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 5 * visitors + 500
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _announce(connection: Connection) -> None:
    """Says on the console how the search for a server ended."""
    try:
        print(connection.summary(), flush=True)
    except ChatError as error:
        print(f"app.py: {error}", file=sys.stderr, flush=True)
    # All that was imported stays: looking through it for garbage again and again would hold up every visitor.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # Not sys.exit: Gradio's server thread waits 5 s for open pages, or takes the interpreter down with a core dump.
    os._exit(status)
