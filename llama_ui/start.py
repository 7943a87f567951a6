"""What both front ends, the page and the terminal, do before anything of their own."""

import os
import sys
from collections.abc import Callable, Sequence

from llama_ui import logs
from llama_ui import settings as options
from llama_ui.settings import Settings


def run(prog: str, argv: Sequence[str], front: Callable[[Settings], int]) -> int:
    """Reads the settings and runs the front end with them, or the doctor. Returns the exit status.

    Raises SystemExit for `--help` and for a bad option, and KeyboardInterrupt where Python does.
    """
    settings = options.load(argv, os.environ, prog=prog)
    # Before the client library is imported, which would have every request printed.
    logs.configure(settings.log_format)
    _reach_loopback_without_proxy()
    try:
        if settings.check or settings.json:
            from llama_ui import doctor

            return doctor.main(settings)
        return front(settings)
    except OSError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1


def _reach_loopback_without_proxy() -> None:
    """Gradio asks its own page at the start, and a local server is asked by the client: neither through a proxy."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost,127.0.0.1,::1"]))
