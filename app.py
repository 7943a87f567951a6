"""Starts the page: `python app.py`."""

import sys
from contextlib import suppress

if sys.version_info < (3, 12):  # noqa: UP036 - one plain line; the imports below would fail less plainly
    sys.exit(f"app.py needs Python 3.12 or newer; this is Python {sys.version.split()[0]}.")

with suppress(ImportError):
    import spaces  # type: ignore[import-not-found] # noqa: F401 - on ZeroGPU Spaces; it has to come before CUDA

try:
    from llama_ui import cli
except ModuleNotFoundError as missing:
    sys.exit(f"app.py: the package {missing.name} is missing; install all with: pip install -r requirements.txt")

if __name__ == "__main__":
    sys.exit(cli.main())
