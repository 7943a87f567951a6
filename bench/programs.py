"""The measured programs, as processes on free ports of 127.0.0.1, with clean environments."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "bench" / "peers"
CHAINLIT = ROOT / ".venv" / "peers" / "bin" / "chainlit"
BARE = "import gradio as gr; gr.ChatInterface(lambda message, history: message).launch()"
# Prefixes of environment variables that would change the results.
FOREIGN = ("LLAMA_", "GRADIO_", "CHAINLIT_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
DEADLINE = 60.0
POLL = 0.02


@dataclass(frozen=True)
class Program:
    """A running program. `seconds`: the time from its start to its first page."""

    process: psutil.Process
    url: str
    seconds: float

    def family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def megabytes(self) -> float:
        """Resident memory, including child processes."""
        return float(sum(process.memory_info().rss for process in self.family())) / 1e6


def command(name: str, server: str, port: int) -> list[str]:
    """The command that starts a program, by its name in the tables."""
    python = sys.executable
    match name:
        case "this app":
            return [python, str(ROOT / "app.py"), "--base-url", server, "--model", "bench", "--max-visitors", "600"]
        case "Chainlit":
            listen = ["--headless", "--host", "127.0.0.1", "--port", str(port)]
            return [str(CHAINLIT), "run", str(PEERS / "chainlit_chat.py"), *listen]
        case "gr.load_chat":
            return [python, str(PEERS / "load_chat.py")]
        case "naive ChatInterface":
            return [python, str(PEERS / "naive.py")]
    return [python, "-c", BARE]


@contextlib.contextmanager
def scripted_server() -> Iterator[str]:
    """Start the server that all programs use. Yields its URL."""
    port = free_port()
    with _process([sys.executable, str(ROOT / "bench" / "scripted_server.py"), str(port)], ".", dict(os.environ)) as _:
        url = f"http://127.0.0.1:{port}"
        _await(f"{url}/v1/models", DEADLINE)
        yield url


@contextlib.contextmanager
def running(start: Sequence[str], port: int, server: str = "") -> Iterator[Program]:
    """Start a program and wait for its page. Raises RuntimeError if it does not answer."""
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN)}
    environment |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", "BENCH_SERVER": server}
    url = f"http://127.0.0.1:{port}"
    # An empty folder: there is no .env file, and what the program writes is deleted.
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with _process(start, folder, environment) as process:
            _await(url, DEADLINE)
            yield Program(psutil.Process(process.pid), url, time.perf_counter() - started)


@contextlib.contextmanager
def _process(start: Sequence[str], folder: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    silent = subprocess.DEVNULL
    process = subprocess.Popen(start, cwd=folder, env=environment, stdin=silent, stdout=silent, stderr=silent)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _await(url: str, seconds: float) -> None:
    deadline = time.perf_counter() + seconds
    with httpx.Client(trust_env=False, timeout=5) as client:
        while time.perf_counter() < deadline:
            try:
                if client.get(url).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(POLL)
    raise RuntimeError(f"Nothing answers at {url}.")
