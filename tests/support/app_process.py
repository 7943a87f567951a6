"""`app.py` as a separate process."""

import contextlib
import os
import queue
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support import SECONDS

ROOT = Path(__file__).parent.parent.parent
# Prefixes of environment variables that change what the app does.
FOREIGN = ("LLAMA_", "GRADIO_", "OGX_", "HF_", "SPACE", "SYSTEM", "FORWARDED_")
FOREIGN += ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def free_port() -> int:
    """A free port below those that the system gives to other sockets, so that none takes it before the caller does."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables without those that change what the app does."""
    return {name: value for name, value in environ.items() if not name.upper().startswith(FOREIGN)}


class AppProcess:
    """A running app. `output` has the lines that it printed."""

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
        self.process.wait(SECONDS)

    def await_line(self, pattern: str) -> str:
        """Wait for the next line of output that matches. Fails with the whole output if there is none."""
        try:
            while (line := self._lines.get(timeout=SECONDS)) is not None:
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
