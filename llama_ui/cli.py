"""What both front ends, the page and the terminal, do before anything of their own."""

import os
import sys
from collections.abc import Callable, Sequence

from llama_ui import settings as options
from llama_ui.core import logs
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
            from llama_ui.llama_stack import check

            return check.main(settings)
        return front(settings)
    except OSError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1


def _reach_loopback_without_proxy() -> None:
    """Adds this machine to the addresses that no proxy is used for.

    Both spellings of the variable get the same joined value: libraries read `no_proxy` first, so setting that one alone
    would override a person's `NO_PROXY`, and send the server's key to their proxy.
    """
    entries = [entry.strip() for name in ("no_proxy", "NO_PROXY") for entry in os.environ.get(name, "").split(",")]
    joined = dict.fromkeys(filter(None, [*entries, "localhost", "127.0.0.1", "::1"]))
    # Beside other entries urllib takes "*" for the name of a host.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "*" if "*" in joined else ",".join(joined)
