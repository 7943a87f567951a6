"""`python -m llama_ui`: the chat in a terminal, or of one message through a pipe."""

import logging
import signal
import sys
import warnings
from pathlib import Path
from typing import NoReturn

PROG = "python -m llama_ui"


def main() -> int:
    """Runs the terminal chat; the console script `llama-ui-chat` calls it, too. Returns the exit status."""
    script = Path(sys.argv[0]).name
    prog = PROG if script == "__main__.py" else script
    if sys.version_info < (3, 12):  # noqa: UP036 - the imports below would fail with a less helpful message
        sys.exit(f"{prog} needs Python 3.12 or newer; this is Python {sys.version.split()[0]}.")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_on_signal)
    try:
        from llama_ui import cli
        from llama_ui.terminal import repl
    except ModuleNotFoundError as missing:
        sys.exit(f"{prog}: the package {missing.name} is missing; install all with: pip install -r requirements.txt")
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it prints tracebacks
    return cli.run(prog, sys.argv[1:], repl.run)


def _exit_on_signal(number: int, _: object) -> NoReturn:
    warnings.simplefilter("ignore")  # Python would warn of a coroutine that is not awaited yet
    sys.exit(128 + number)  # as a shell reports it


if __name__ == "__main__":
    sys.exit(main())
