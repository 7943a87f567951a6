"""Temporary folders, each with a lock in it: what an app that was killed has left behind, the next one removes."""

import shutil
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "llama-ui-"


def lock(folder: Path) -> FileLock:
    """Marks a folder as in use for as long as this process lives and keeps the result."""
    held = FileLock(folder / "lock")
    held.acquire()
    return held


def remove_leftovers(parent: Path) -> None:
    """Removes the folders in `parent` whose processes have ended."""
    for file in parent.glob(f"{PREFIX}*/lock"):
        with suppress(OSError, Timeout), FileLock(file, timeout=0):  # nobody holds it any longer
            shutil.rmtree(file.parent, ignore_errors=True)
