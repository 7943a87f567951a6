"""The local stack as the app sees it: one child process that is started, watched and ended."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path

from llama_ui import scratch
from llama_ui.core.errors import LocalStackError
from llama_ui.local_stack.model import CONNECT_FIX
from llama_ui.local_stack.worker import HUB_VARIABLES, PIP_VARIABLES, START_TIMEOUT, environment

WORKER = ("-m", "llama_ui.local_stack.worker")
LAST_LINES = 5  # of the log of a failed worker, printed on the console


class LocalStack:
    """Starts, watches and stops the local stack. Its methods may be called from different threads."""

    def __init__(self, cache: Path, model: str | None = None, report: Callable[[str], None] = print) -> None:
        """`cache` is for the demonstration model, which `model`, a value of `--local-model`, replaces.

        `report` gets sentences about the progress, in the thread that called `start`.
        """
        self._cache = cache.expanduser().absolute()  # the worker has another working directory
        self._model = model
        self._report = report
        self._lock = threading.RLock()
        self._worker: _Worker | None = None

    def start(self) -> str:
        """Blocks until the stack can chat. Returns its base URL, such as `http://127.0.0.1:41234`.

        Raises LocalStackError, also when `stop` was called meanwhile, and then has left nothing behind.
        """
        for package in ("xllamacpp", "ogx"):
            if importlib.util.find_spec(package) is None:  # importing it would cost seconds and memory
                sentence = f"The local stack cannot be started, because the Python package {package} is not installed."
                raise LocalStackError(sentence, f"It may not exist for this platform. {CONNECT_FIX}")
        with self._lock:
            self.stop()
            worker = self._worker = _Worker(self._cache, self._model)
        try:
            self._report("Preparing the local stack")
            return worker.wait_until_ready(self._report)
        except BaseException:
            worker.end()
            raise

    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._worker is not None and self._worker.process.poll() is None

    def stop(self) -> None:
        """Ends the worker at once, also while it starts. May be called at any time, and again."""
        with self._lock:
            if self._worker:
                self._worker.stopped = True
                self._worker.end()


class _Worker:
    """The child process, and the directories that it writes to."""

    def __init__(self, cache: Path, model: str | None) -> None:
        name = uuid.uuid4().hex
        # The worker creates both, so that none is left if the app is killed before there is a worker.
        self._directories = [Path(tempfile.gettempdir()) / f"{scratch.PREFIX}{name}", cache / f"llama-ui-pip-{name}"]
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.stopped = False
        prefixes = PIP_VARIABLES if model is None else HUB_VARIABLES  # neither gets the other's credentials
        self.process = subprocess.Popen(
            [sys.executable, "-P", *WORKER, *map(str, self._directories), *([model] if model else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=environment(os.environ, prefixes),
            start_new_session=True,  # Ctrl-C reaches the app alone
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
        )
        self._log_reader = threading.Thread(target=self._last_lines.extend, args=[self.process.stderr], daemon=True)
        self._log_reader.start()

    def wait_until_ready(self, report: Callable[[str], None]) -> str:
        """Reports the worker's progress until it is ready. Returns its URL. Raises LocalStackError."""
        from tqdm import tqdm  # the page should not wait for it

        part, failure, bar = "The local stack", None, None
        assert self.process.stdout
        with self.process.stdout as lines:
            for message in map(json.loads, lines):
                if "ready" in message:
                    return str(message["ready"])
                if "report" in message:
                    report(message["report"])
                part = message.get("part", part)
                failure = message.get("error")
                if "total" in message:
                    total = message["total"]
                    bar = bar or tqdm(desc="Demonstration model", total=total, unit="B", unit_scale=True)
                    bar.update(message["done"] - bar.n)
                elif bar:
                    bar.close()
        status = self.end()
        if self.stopped:
            raise LocalStackError("The local stack was stopped.", "Start the app again.")
        for line in self._last_lines:  # on the console, which only the app's owner sees
            print(f"  {line.rstrip()}", file=sys.stderr)
        if failure:
            raise LocalStackError(*failure)
        late = sys.platform != "win32" and status == -signal.SIGALRM
        what = f"was not ready within {START_TIMEOUT} s" if late else "ended unexpectedly"
        raise LocalStackError(f"{part} {what}.", f"The console shows its last lines. {CONNECT_FIX}")

    def end(self) -> int:
        """Ends the worker and all that it started, and removes their files. Returns the exit status."""
        if self.process.returncode is None:  # not awaited yet, so its process group cannot be another's
            if sys.platform == "win32":
                self.process.kill()
            else:
                with contextlib.suppress(ProcessLookupError, PermissionError):  # it is about to end
                    os.killpg(self.process.pid, signal.SIGKILL)
        status = self.process.wait()
        self._log_reader.join(timeout=1)
        if self.process.stdin:
            self.process.stdin.close()
        for directory in self._directories:
            shutil.rmtree(directory, ignore_errors=True)
        return status
