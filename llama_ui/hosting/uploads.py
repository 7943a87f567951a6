"""Files that visitors add, for as long as the app may still have to read them.

Gradio deletes those that were uploaded whole, minutes later. Broken off, refused, or meant for nothing they would stay,
and all of them after the app has ended.
"""

import os
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

# Seconds: how often it is looked, and how old they are then. The first file of a request is complete at once, the last
# one after `gate.LONGEST`, and then all are read.
SWEEP_INTERVAL, MAX_AGE = 60, 360
# Gradio looks first: it remembers all files that it does not delete itself.
SWEPT = MAX_AGE + 2.0 * SWEEP_INTERVAL


@cache
def folder() -> "TemporaryDirectory[str]":
    """Where Gradio puts them. It is asked for before the page is made."""
    chosen = Path(os.environ.get("GRADIO_TEMP_DIR") or gettempdir())
    chosen.mkdir(parents=True, exist_ok=True)
    made = TemporaryDirectory(prefix="llama-ui-", dir=chosen, ignore_cleanup_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = made.name
    threading.Thread(target=_sweep_again_and_again, args=[Path(made.name)], daemon=True, name="uploads").start()
    return made


def sweep(place: Path) -> None:
    """Deletes files that are old, and folders that have been empty for as long."""
    for where, _, names in os.walk(place, topdown=False):
        for path in [*(Path(where, name) for name in names), Path(where)]:
            with suppress(OSError):  # not empty, or gone by now
                if path != place and path.lstat().st_mtime < time.time() - SWEPT:
                    path.rmdir() if path.is_dir() else path.unlink()


def _sweep_again_and_again(place: Path) -> None:
    while True:
        sweep(place)
        time.sleep(SWEEP_INTERVAL)
