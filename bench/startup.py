"""How long after its start a page answers: this app beside a bare `gr.ChatInterface`, in one run, in turns.

    python bench/startup.py [N]

Each of the N rounds (7 by default) starts each program once, in a process of its own, and asks for its page until that
comes with HTTP 200. A round before them, which is not counted, fills the system's file cache. Prints a Markdown table.
"""

import importlib.metadata
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
BARE = "import gradio as gr; gr.ChatInterface(lambda message, history: message).launch()"
PROGRAMS = {
    "`gr.ChatInterface(echo).launch()` alone": [sys.executable, "-c", BARE],
    "this app, no server (`--no-local`)": [sys.executable, str(ROOT / "app.py"), "--no-local"],
    "this app, with the local stack": [sys.executable, str(ROOT / "app.py")],
}
# What a shell may hold, and would change what is measured.
FOREIGN = ("LLAMA_", "GRADIO_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
TARGET = 1.3
DEADLINE = 60.0
POLL = 0.02


def seconds_to_page(command: list[str], folder: str) -> float:
    """Starts a program, awaits its page and ends it. Raises RuntimeError where no page comes."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN)}
    environment |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    started = time.perf_counter()
    silent = subprocess.DEVNULL
    # In an empty folder, so that no .env file is read.
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=silent, stdout=silent, stderr=silent)
    try:
        with httpx.Client(trust_env=False, timeout=5) as client:
            while time.perf_counter() - started < DEADLINE and process.poll() is None:
                try:
                    if client.get(f"http://127.0.0.1:{port}/").status_code == httpx.codes.OK:
                        return time.perf_counter() - started
                except httpx.TransportError:
                    pass  # it does not listen yet
                time.sleep(POLL)
        raise RuntimeError(f"No page came from: {' '.join(command)}")
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measured(rounds: int) -> dict[str, list[float]]:
    """The seconds of each program's starts."""
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            for name, command in PROGRAMS.items():
                taken = seconds_to_page(command, folder)
                if number:
                    seconds[name].append(taken)
    return seconds


def table(seconds: dict[str, list[float]]) -> str:
    """The results in Markdown; each median also over that of the first program."""
    base = statistics.median(next(iter(seconds.values())))
    rows = ["| Start to page (HTTP 200), seconds | median | min | max | ratio |", "|---|---|---|---|---|"]
    for name, taken in seconds.items():
        median = statistics.median(taken)
        rows.append(f"| {name} | {median:.2f} | {min(taken):.2f} | {max(taken):.2f} | {median / base:.2f} |")
    return "\n".join(rows)


def machine() -> str:
    """The processor, the system and the versions."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    described = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    processor = found[1] if found else platform.processor() or platform.machine()
    return (
        f"{processor}, {os.cpu_count()} cores, {platform.system()}; Python {platform.python_version()}, "
        f"gradio {importlib.metadata.version('gradio')}, app {described.stdout.strip() or 'of unknown revision'}"
    )


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    print(table(measured(rounds)))
    print(f"\n{rounds} starts each, in turns. Target: a ratio of at most {TARGET}.\n{machine()}")


if __name__ == "__main__":
    main()
