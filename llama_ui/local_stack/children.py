"""Child processes that never outlive the app. What runs inside them is in `child.py`."""

import contextlib
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llama_ui.core.errors import LocalStackError

LAST_LINES = 5  # of a child that failed, shown on the console
CONNECT_FIX = "Connect a Llama Stack server with --base-url URL."

# A child gets the variables that are listed here and no others, so that no key reaches it that it has no use for, and
# neither a proxy nor a setting for another Llama Stack server changes how the local one behaves.
_SYSTEM = {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV"}
_WINDOWS = {"SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "APPDATA", "LOCALAPPDATA"}
_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_", "REQUESTS_CA_", "CURL_CA_", "XDG_")
_FETCHERS = {"pip": (*_NETWORK, "PIP_", "NETRC"), "hub": (*_NETWORK, "HF_", "HUGGING_FACE_HUB_TOKEN")}
_SERVERS = {
    "NO_PROXY": "*",
    "HF_HUB_OFFLINE": "1",
    "OTEL_SDK_DISABLED": "true",
    "OGX_LOG_FORMAT": "json",  # in the default format a traceback holds up all requests for seconds
}


def environment(role: str, scratch: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables for a child, made from those of the app."""
    prefixes = _FETCHERS.get(role, ())
    kept = {
        name: value
        for name, value in environ.items()
        if name.upper() in _SYSTEM | _WINDOWS or name.upper().startswith(prefixes)
    }
    package_root = str(Path(__file__).resolve().parent.parent.parent)
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, environ.get("PYTHONPATH")]))
    kept |= {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    kept |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    if role not in _FETCHERS:
        kept |= _SERVERS | {"OGX_CONFIG_DIR": str(scratch)}  # else OGX uses ~/.ogx, and moves a ~/.llama there
    return kept


class Child:
    """One running child. It works in `scratch`, a directory of its own."""

    def __init__(self, name: str, role: str, arguments: tuple[str, ...], scratch: Path) -> None:
        """`name` begins a sentence: "The model engine". Raises OSError."""
        self.name = name
        self.scratch = scratch
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "llama_ui.local_stack.worker", role, str(scratch), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=environment(role, scratch, os.environ),
            start_new_session=True,  # Ctrl-C reaches the app alone, which then ends its children
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
        )
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()

    def _read_log(self) -> None:
        self.last_lines.extend(line.rstrip() for line in self.process.stderr or ())

    def lines(self) -> Iterator[str]:
        """What the child prints, line by line, until it ends."""
        with contextlib.suppress(ValueError):  # `clear` closed it meanwhile
            yield from self.process.stdout or ()

    def order(self, **orders: Any) -> None:
        """Tells the child what to do. If it has ended, that shows when its answer is awaited."""
        if self.process.stdin:
            with contextlib.suppress(OSError, ValueError):
                self.process.stdin.write(json.dumps(orders) + "\n")
                self.process.stdin.flush()

    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Ends the child and all that it started, at once: nothing in it is worth saving."""
        if not self.alive():
            return
        if sys.platform == "win32":
            self.process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(self.process.pid, signal.SIGKILL)  # it leads its own group

    def wait(self) -> int:
        """Awaits the end of the child; its exit status. After it `last_lines` are the last."""
        status = self.process.wait()
        self._log_reader.join(timeout=1)
        return status

    def show_last_lines(self) -> None:
        """Ends the child and prints what it last logged on the console."""
        self.kill()
        self.wait()
        for line in self.last_lines:
            print(f"  {line}", file=sys.stderr)

    def clear(self) -> None:
        """Awaits the end of the child, then closes its pipes and removes its files."""
        self.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                with contextlib.suppress(OSError):  # orders that were never read
                    pipe.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


class Children:
    """The children of one start of the local stack. They end together; after that none can be started."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may end what its own thread is starting
        self._children: list[Child] = []
        self.ended = False

    def start(self, role: str, name: str, *arguments: str, scratch_in: Path | None = None) -> Child:
        """Starts a child, with its scratch directory in `scratch_in`. Raises LocalStackError, also after `end`."""
        with self._lock:
            self.check()
            # The child makes the directory, so that none is left if the app is killed before there is a child.
            scratch = (scratch_in or Path(tempfile.gettempdir())) / f"llama-ui-{role}-{uuid.uuid4().hex}"
            try:
                child = Child(name, role, arguments, scratch)
            except OSError as error:
                raise LocalStackError(f"{name} cannot be started ({error.strerror}).", CONNECT_FIX) from error
            self._children.append(child)
            return child

    def answer(self, child: Child, seconds: float) -> str:
        """Awaits what the child says when it is ready, `seconds` at the most.

        Raises LocalStackError, with the sentence that the child gave or one that says that it ended or took too long;
        its last lines go to the console, which only the app's owner sees.
        """
        timer = threading.Timer(seconds, child.kill)
        timer.daemon = True
        timer.start()
        line = next(child.lines(), "")
        late = timer.finished.is_set()
        timer.cancel()
        self.check()
        answer = json.loads(line) if line else {}
        if "ready" in answer:
            return str(answer["ready"])
        child.show_last_lines()
        if "error" in answer:
            raise LocalStackError(answer["error"], answer["fix"])
        what = f"was not ready within {seconds:.0f} s" if late else "ended unexpectedly"
        raise LocalStackError(f"{child.name} {what}.", f"The console shows its last lines. {CONNECT_FIX}")

    def check(self) -> None:
        """Raises LocalStackError once the children were ended."""
        if self.ended:
            raise LocalStackError("The local stack was stopped.", "Start the app again.")

    def end(self) -> None:
        """Ends all children and removes their files, at once; may be called again."""
        with self._lock:
            self.ended = True
            for child in self._children:
                child.kill()
            for child in self._children:
                child.clear()
