"""Starts the page: `python app.py`."""

import sys
from contextlib import suppress

if sys.version_info < (3, 12):  # noqa: UP036 - one plain line; the imports below would fail less plainly
    sys.exit(f"app.py needs Python 3.12 or newer; this is Python {sys.version.split()[0]}.")

with suppress(ImportError):
    import spaces  # type: ignore[import-not-found] # on Hugging Face Spaces; it has to come before CUDA

    @spaces.GPU  # type: ignore[untyped-decorator] # its package is not installed here
    def _uses_no_gpu() -> None:
        """A Space on ZeroGPU starts only if some function is decorated so. This app has no use for a GPU."""


try:
    from llama_ui import cli
except ModuleNotFoundError as missing:
    sys.exit(f"app.py: the package {missing.name} is missing; install all with: pip install -r requirements.txt")

if __name__ == "__main__":
    sys.exit(cli.main())
