"""A temporary folder for uploaded files. Gradio deletes none at exit, and none whose upload was broken off."""

import os
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from llama_ui import scratch

# Seconds: how often Gradio looks for old files, and their age. The files of one message may take minutes to arrive.
SWEEP_INTERVAL, MAX_AGE = 60, 360
# The age at which `sweep` deletes a file: after Gradio, which otherwise keeps its name in memory for good.
SWEEP_AGE = MAX_AGE + 2.0 * SWEEP_INTERVAL


class Uploads(TemporaryDirectory[str]):
    """The folder, with a subfolder for the files, since `sweep` deletes whatever is old in that."""

    def __init__(self, parent: Path) -> None:
        super().__init__(prefix=scratch.PREFIX, dir=parent, ignore_cleanup_errors=True)
        self._lock = scratch.lock(Path(self.name))
        self.files = Path(self.name, "files")
        self.files.mkdir()


@cache
def folder() -> Uploads:
    """The folder that Gradio uploads into, created on the first call. Call it before building the page."""
    parent = Path(os.environ.get("GRADIO_TEMP_DIR") or gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    scratch.remove_leftovers(parent)
    uploads = Uploads(parent)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.files)
    threading.Thread(target=_sweep_forever, args=[uploads.files], daemon=True, name="uploads").start()
    return uploads


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
