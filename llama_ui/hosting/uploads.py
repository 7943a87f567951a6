"""A temporary folder for uploaded files. Gradio deletes none at exit, and none whose upload was broken off."""

import os
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

# Seconds: how often Gradio looks for old files, and their age. The files of one message may take minutes to arrive.
SWEEP_INTERVAL, MAX_AGE = 60, 360
# The age at which `sweep` deletes a file: after Gradio, which otherwise keeps its name in memory for good.
SWEEP_AGE = MAX_AGE + 2.0 * SWEEP_INTERVAL


@cache
def folder() -> "TemporaryDirectory[str]":
    """The folder that Gradio uploads into, created on the first call. Call it before building the page."""
    parent = Path(os.environ.get("GRADIO_TEMP_DIR") or gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    directory = TemporaryDirectory(prefix="llama-ui-", dir=parent, ignore_cleanup_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = directory.name
    threading.Thread(target=_sweep_forever, args=[Path(directory.name)], daemon=True, name="uploads").start()
    return directory


def sweep(root: Path) -> None:
    """Deletes old files in `root`, and old empty folders."""
    for directory, folders, files in root.walk(top_down=False):
        for path in (directory / name for name in files + folders):
            with suppress(OSError):  # not empty, or already deleted
                if path.lstat().st_mtime < time.time() - SWEEP_AGE:
                    path.rmdir() if path.is_dir() else path.unlink()


def _sweep_forever(root: Path) -> None:
    while True:
        sweep(root)
        time.sleep(SWEEP_INTERVAL)
