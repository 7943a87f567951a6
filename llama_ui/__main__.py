"""`python -m llama_ui`: the chat in a terminal, or of one message through a pipe."""

import signal
import sys

PROG = "python -m llama_ui"

if sys.version_info < (3, 12):  # noqa: UP036 - said plainly here; the imports below would fail less plainly
    sys.exit(f"{PROG} needs Python 3.12 or newer; this is Python {sys.version.split()[0]}.")

if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to stop, Ctrl-C ends without a word
    try:
        from llama_ui import cli
        from llama_ui.terminal import repl
    except ModuleNotFoundError as missing:
        sys.exit(f"{PROG}: the package {missing.name} is missing; install all with: pip install -r requirements.txt")
    sys.exit(cli.run(PROG, sys.argv[1:], repl.run))
