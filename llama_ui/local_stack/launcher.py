"""The local stack as the app sees it: one child process that is started, watched and ended."""

import asyncio
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
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

from llama_ui import scratch
from llama_ui.core.errors import LocalStackError
from llama_ui.local_stack.catalog import BETTER_MODELS, read_choice, real_name, write_choice
from llama_ui.local_stack.model import CONNECT_FIX
from llama_ui.local_stack.worker import HUB_VARIABLES, PIP_VARIABLES, START_TIMEOUT, environment

WORKER = ("-m", "llama_ui.local_stack.worker")
LAST_LINES = 5  # of the log of a failed worker, printed on the console


class LocalStack:
    """Starts, watches and stops the local stack. Its methods may be called from different threads."""

    def __init__(self, cache: Path, model: str | None = None, report: Callable[[str], None] = print) -> None:
        """`cache` has the models. `model` is a value of `--local-model`; None: the chosen or the demonstration model.

        `report` gets sentences about the progress, in the thread that called `start`.
        """
        self._cache = cache.expanduser().absolute()  # the worker has another working directory
        self.model = model  # of the stack that was started last; None is the demonstration model
        self._next = None if model else read_choice(self._cache)  # tried first; if it fails, `model` is used
        self._refusal: LocalStackError | None = None
        self._report = report
        self._lock = threading.RLock()
        self._worker: _Worker | None = None
        self._fetching: _Worker | None = None

    def start(self) -> str:
        """Blocks until the stack can chat. Returns its base URL, such as `http://127.0.0.1:41234`.

        A chosen model that cannot be used is replaced by the one before. Raises LocalStackError, also when `stop` was
        called meanwhile, and then has left nothing behind.
        """
        for package in ("xllamacpp", "ogx"):
            if importlib.util.find_spec(package) is None:  # importing it would cost seconds and memory
                sentence = f"The local stack cannot be started, because the Python package {package} is not installed."
                raise LocalStackError(sentence, f"It may not exist for this platform. {CONNECT_FIX}")
        if not (name := self._next):
            return self._start(self.model)
        self._next, label = None, real_name(name)
        try:
            if not os.access(self._cache / BETTER_MODELS[name].file, os.R_OK):
                raise LocalStackError("Its file in the cache is missing or cannot be read.", "")
            url = self._start(name)
        except LocalStackError as error:
            if self._worker and self._worker.stopped:
                raise
            print(f"{label} cannot be used. {error} {real_name(self.model)} is used instead.", file=sys.stderr)
            fix = f"The local stack continues with {real_name(self.model)}."
            self._refusal = LocalStackError(f"{label} cannot be used. {error.sentence}", fix)
            return self._start(self.model)
        self.model, self._refusal = name, None
        try:
            write_choice(self._cache, name)
        except OSError as error:
            print(f"The next start will not use {label}: {error}", file=sys.stderr)
        return url

    def _start(self, model: str | None) -> str:
        with self._lock:
            if self._worker:
                self._worker.end()
            worker = self._worker = _Worker(self._cache, model)
        try:
            self._report("Preparing the local stack")
            return worker.wait_until_ready(self._report)
        except BaseException:
            worker.end()
            raise

    async def fetch(self, name: str) -> AsyncGenerator[tuple[int, int], None]:
        """Fetches a better model into the cache. Yields the bytes so far and in all. Closing it ends the download.

        Raises LocalStackError, also while another model is being fetched.
        """
        with self._lock:
            if self._fetching:
                sentence = "Another model is being downloaded already."
                raise LocalStackError(sentence, "Wait until that is complete, or cancel it.")
            worker = self._fetching = _Worker(self._cache, name, "fetch")
        messages = worker.messages()
        try:
            while "ready" not in (message := await asyncio.to_thread(next, messages)):
                if "total" in message:
                    yield message["done"], message["total"]
        finally:
            worker.stopped = True
            worker.end()
            self._fetching = None

    def choose(self, name: str) -> None:
        """Ends the stack. The next `start` uses this better model."""
        with self._lock:
            self._next = name
            if self._worker:
                self._worker.end()

    def check_choice(self, name: str) -> None:
        """Raises LocalStackError if `start` could not use the model that was chosen."""
        if self.model != name:
            raise self._refusal or LocalStackError(f"{real_name(name)} was not started.", "Try again.")

    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._worker is not None and self._worker.process.poll() is None

    def stop(self) -> None:
        """Ends the stack at once, also while it starts, and a download. May be called at any time, and again."""
        with self._lock:
            for worker in filter(None, (self._worker, self._fetching)):
                worker.stopped = True
                worker.end()


class _Worker:
    """The child process, and the directories that it writes to."""

    def __init__(self, cache: Path, model: str | None, *arguments: str) -> None:
        name = uuid.uuid4().hex
        # The worker creates both, so that none is left if the app is killed before there is a worker.
        self._directories = [Path(tempfile.gettempdir()) / f"{scratch.PREFIX}{name}", cache / f"llama-ui-fetch-{name}"]
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.stopped = False
        self._ending = threading.Lock()
        prefixes = PIP_VARIABLES if model is None else HUB_VARIABLES  # neither gets the other's credentials
        self.process = subprocess.Popen(
            [sys.executable, "-P", *WORKER, *map(str, self._directories), *filter(None, [model]), *arguments],
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

        bar = None
        with contextlib.closing(self.messages()) as messages:
            while "ready" not in (message := next(messages)):
                if "report" in message:
                    report(message["report"])
                if "total" in message:
                    total = message["total"]
                    bar = bar or tqdm(desc="Model", total=total, unit="B", unit_scale=True)
                    bar.update(message["done"] - bar.n)
                elif bar:
                    bar.close()
        return str(message["ready"])

    def messages(self) -> Generator[dict[str, Any], None, None]:
        """What the worker sends, see `worker.py`. Raises LocalStackError when it ends."""
        part, failure = "The local stack", None
        assert self.process.stdout
        with self.process.stdout as lines:
            for message in map(json.loads, lines):
                part = message.get("part", part)
                failure = message.get("error")
                yield message
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
        with self._ending:
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
