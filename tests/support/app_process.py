"""`app.py` as a process of its own, as a person starts it."""

import os
import queue
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parent.parent.parent
STARTUP_SECONDS = 60.0
# What a developer's shell may hold, and would change what the app does.
FOREIGN = (
    "LLAMA_",
    "GRADIO_",
    "OGX_",
    "HF_",
    "SPACE",
    "SYSTEM",
    "FORWARDED_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables without those that would change what the app does."""
    return {name: value for name, value in environ.items() if not name.upper().startswith(FOREIGN)}


class AppProcess:
    """A running app. `output` has what it printed; a line that never comes fails the test with all of it."""

    def __init__(self, arguments: tuple[str, ...], variables: dict[str, str], cwd: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py"), "--port", str(self.port), *arguments],
            cwd=cwd,
            env=clean(os.environ) | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        self.await_line("Llama Stack Chat: ")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(20)

    def await_line(self, pattern: str) -> str:
        """The next line of output in which the pattern is found."""
        try:
            while (line := self._lines.get(timeout=STARTUP_SECONDS)) is not None:
                if re.search(pattern, line):
                    return line
        except queue.Empty:
            pass
        raise AssertionError(f"The app did not print {pattern!r}. It printed:\n{''.join(self.output)}")

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.output.append(line)
            self._lines.put(line)
        self._lines.put(None)
