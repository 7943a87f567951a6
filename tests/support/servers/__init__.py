"""Real servers for the contract tests: Llama Stacks and a gateway, each in front of a scripted engine."""

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

GATEWAY_KEY = "sk-0123456789abcdef0123456789abcdef"

OGX = "ogx run {config} --port {port} --insecure", "ogx.yaml"
LLAMA_STACK = "llama stack run {config} --port {port}"
# The command of each server, in the bin folder of its environment, and its configuration.
SERVERS = {
    "ogx-1.5.0": OGX,
    "ogx-1.3.1": OGX,
    "llama-stack-0.7.3": (LLAMA_STACK, "llama-stack.yaml"),
    "llama-stack-0.6.1": (LLAMA_STACK, "llama-stack.yaml"),
    "llama-stack-0.5.4": (LLAMA_STACK, "llama-stack.yaml"),
    "llama-stack-0.4.7": (LLAMA_STACK, "llama-stack-0.3.yaml"),
    "llama-stack-0.3.5": (LLAMA_STACK, "llama-stack-0.3.yaml"),
    "llama-stack-0.2.12": (
        "python -m llama_stack.distribution.server.server --config {config} --port {port}",
        "llama-stack-0.2.yaml",
    ),
    "litellm-1.108.7": ("litellm --config {config} --host 127.0.0.1 --port {port} --telemetry False", "litellm.yaml"),
}


class RealServer:
    """A server process on 127.0.0.1: `with RealServer("ogx-1.5.0") as server: server.await_ready()`.

    `engine` is the scripted engine behind it, `model` the server's id of the engine's model, `key` the server's key.
    """

    def __init__(self, name: str, port: int | None = None, engine: FakeStack | None = None) -> None:
        self.name = name
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.model = "tiny" if name == "llama-stack-0.2.12" else "engine/tiny"
        self.key = GATEWAY_KEY if name.startswith("litellm") else None
        self.engine = engine or FakeStack()
        self.reset()

    def __enter__(self) -> Self:
        self._cleanup = contextlib.ExitStack()
        self.engine = self._cleanup.enter_context(self.engine)
        folder = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        config = folder / "config.yaml"
        command, template = SERVERS[self.name]
        values = {"folder": folder, "engine": f"{self.engine.url}/v1", "port": self.port, "key": GATEWAY_KEY}
        config.write_text(string.Template((HERE / template).read_text()).substitute(values))
        program, *arguments = command.format(config=config, port=self.port).split()
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
        health = "/health/liveliness" if self.key else "/v1/health"
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}{health}", trust_env=False, timeout=2).is_success:
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
