"""Real Llama Stack servers of every generation, each with a scripted engine behind it, for the contract tests."""

import contextlib
import os
import string
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx

from tests.support import SECONDS
from tests.support.app_process import clean, free_port
from tests.support.fake_stack import FakeStack
from tests.support.servers.install import HERE, install

ENGINE_MODELS = ("tiny", "text-embedding-3-small")

# The command of each server, in the bin folder of its environment.
COMMANDS = {
    "ogx-1.5.0": "ogx run {config} --port {port} --insecure",
    "llama-stack-0.7.3": "llama stack run {config} --port {port}",
    "llama-stack-0.3.5": "llama stack run {config} --port {port}",
    "llama-stack-0.2.12": "python -m llama_stack.distribution.server.server --config {config} --port {port}",
}


class RealServer:
    """A server process on 127.0.0.1: `with RealServer("ogx-1.5.0") as server: server.await_ready()`.

    `engine` is the scripted engine behind it, `model` the server's id of the engine's model.
    """

    def __init__(self, name: str, port: int | None = None, engine: FakeStack | None = None) -> None:
        self.name = name
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.model = "tiny" if name == "llama-stack-0.2.12" else "engine/tiny"
        self.engine = engine or FakeStack()
        self.reset()

    def __enter__(self) -> Self:
        self._cleanup = contextlib.ExitStack()
        self.engine = self._cleanup.enter_context(self.engine)
        folder = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        config = folder / "config.yaml"
        template = string.Template((HERE / f"{self.name}.yaml").read_text())
        config.write_text(template.substitute(folder=folder, engine=f"{self.engine.url}/v1", port=self.port))
        program, *arguments = COMMANDS[self.name].format(config=config, port=self.port).split()
        log = self._cleanup.enter_context((folder / "log").open("w"))
        self._log = self._cleanup.enter_context((folder / "log").open(errors="replace"))
        self.process = subprocess.Popen(
            [install(self.name) / "bin" / program, *arguments],
            cwd=folder,
            env=self._environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self._cleanup.callback(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def reset(self) -> None:
        """Reset everything that a test can change."""
        self.engine.reset()
        self.engine.act_as_engine(*ENGINE_MODELS)

    def await_ready(self) -> Self:
        """Wait until the server answers. Fails with its output if it never does."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/v1/health", trust_env=False, timeout=2).is_success:
                    return self
            time.sleep(0.1)  # a process has no event to wait for
        raise AssertionError(f"{self.name} did not start. It printed:\n{self._log.read()[-4000:]}")

    def await_line(self, text: str, seconds: float) -> None:
        """Wait until the server has printed this text since the last call."""
        deadline = time.monotonic() + seconds
        printed = ""
        while text not in (printed := printed + self._log.read()):
            assert time.monotonic() < deadline, f"{self.name} did not print {text!r}, but:\n{printed[-4000:]}"
            time.sleep(0.05)

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _environment(self, folder: Path) -> Mapping[str, str]:
        # JSON logs, because formatting tracebacks takes the server seconds. It also writes to its home folder.
        formats = {"OGX_LOG_FORMAT": "json", "LLAMA_STACK_LOG_FORMAT": "json"}
        return clean(os.environ) | formats | {"HOME": str(folder), "NO_PROXY": "127.0.0.1,localhost"}
