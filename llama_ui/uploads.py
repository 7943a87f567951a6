"""Files that visitors add, for as long as the app may still have to read them.

Gradio deletes those that were uploaded whole, and as the app's own only. Broken off, refused, or meant for nothing they
would stay, also after the app has ended.
"""

import os
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

# Seconds: the longest that a request may take (`gate.LONGEST`), in which its first file is complete at once, and a
# minute to read it. How often it is looked. Bytes of all files, beyond which no more are taken.
KEPT, EVERY, MOST_BYTES = 360.0, 60.0, 2**30


@cache
def folder() -> "TemporaryDirectory[str]":
    """Where Gradio puts them. It is asked for before the page is made."""
    made = TemporaryDirectory(prefix="llama-ui-", ignore_cleanup_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = made.name
    threading.Thread(target=_sweep_again_and_again, args=[Path(made.name)], daemon=True, name="uploads").start()
    return made


def are_too_many() -> bool:
    """Whether no more can be taken for now."""
    bytes_of_all = 0
    for where, _, names in os.walk(folder().name):
        for name in names:
            with suppress(FileNotFoundError):  # by now
                bytes_of_all += Path(where, name).lstat().st_size
    return bytes_of_all > MOST_BYTES


def sweep(place: Path) -> None:
    """Deletes files that are old, and folders that have been empty for as long."""
    for where, _, names in os.walk(place, topdown=False):
        for path in [*(Path(where, name) for name in names), Path(where)]:
            with suppress(OSError):  # not empty, or gone by now
                if path != place and path.lstat().st_mtime < time.time() - KEPT:
                    path.rmdir() if path.is_dir() else path.unlink()


def _sweep_again_and_again(place: Path) -> None:
    while place.exists():
        sweep(place)
        time.sleep(EVERY)
