"""app.py as a person starts it: what the console says, how it ends, and the real local stack behind it."""

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from gradio_client import Client

from tests.support.app_process import ROOT, AppProcess, clean
from tests.support.fake_stack import FakeStack
from tests.web.test_web import said

SECONDS = 60.0
StartApp = Callable[..., AppProcess]


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "app.py"), *arguments]
    return subprocess.run(
        command, cwd=cwd, env=clean(os.environ) | variables, capture_output=True, text=True, timeout=SECONDS
    )


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        (["--port", "abc"], {}, ["--port", "'abc'"]),
        (["--base-url", "localhost:8321"], {}, ["--base-url", "'localhost:8321'"]),
        ([], {"GRADIO_SERVER_PORT": "70000"}, ["--port", "GRADIO_SERVER_PORT", "'70000'"]),
        (["--local-model", "no.gguf"], {}, ["--local-model", "'no.gguf'"]),
        (["--frobnicate"], {}, ["--frobnicate"]),
        (["--host", "203.0.113.5"], {}, ["--host", "'203.0.113.5'"]),
        (["--host", "nonsense.invalid"], {}, ["--host", "'nonsense.invalid'"]),
    ],
)
def test_a_bad_option_is_named_in_one_line_before_anything_starts(
    arguments: list[str], variables: dict[str, str], named: list[str], tmp_path: Path
) -> None:
    ended = run(*arguments, cwd=tmp_path, **variables)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert all(name in ended.stderr for name in named), ended.stderr


def test_help_names_every_option_and_its_variable(tmp_path: Path) -> None:
    text = run("--help", cwd=tmp_path).stdout
    for name in ("--base-url", "--model", "--system-prompt", "--host", "--port", "--share", "--no-local"):
        assert name in text
    for name in ("LLAMA_STACK_CLIENT_BASE_URL", "GRADIO_SERVER_PORT", "GRADIO_SHARE", "LLAMA_UI_NO_LOCAL"):
        assert name in text
    assert "--api-key" not in text


@pytest.mark.loopback
def test_a_port_in_use_is_named_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("--no-local", "--port", str(port), cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert str(port) in ended.stderr and "--port" in ended.stderr


@pytest.mark.loopback
def test_the_env_file_configures_the_app_and_the_key_stays_out_of_sight(
    start_app: StartApp, stack: FakeStack, tmp_path: Path
) -> None:
    stack.key = "s3cr3t"
    (tmp_path / ".env").write_text(f"LLAMA_STACK_CLIENT_BASE_URL={stack.url}\nLLAMA_STACK_CLIENT_API_KEY=s3cr3t\n")
    app = start_app()
    app.await_line(f"Server: {stack.url}")
    assert said(Client(app.url, verbose=False).predict("Hi", api_name="/chat")) == "Hello there."
    assert "s3cr3t" not in "".join(app.output)


@pytest.mark.loopback
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_app_ends_when_told_to_without_a_traceback(start_app: StartApp, stack: FakeStack, end: int) -> None:
    app = start_app("--base-url", stack.url)
    client = Client(app.url, verbose=False)
    client.predict("Hi", api_name="/chat")
    app.process.send_signal(end)
    assert app.process.wait(SECONDS) == 0
    assert "Traceback" not in "".join(app.output)


@pytest.mark.real_stack
def test_a_reply_from_the_real_local_stack_is_streamed_and_a_message_sent_early_waits(start_app: StartApp) -> None:
    app = start_app()
    client = Client(app.url, verbose=False)  # at once: the stack is not ready yet
    outputs = list(client.submit("Tell me a long story about a llama.", max_tokens=60, api_name="/chat"))
    notes = [said(output) for output in outputs if output and "id" in (output[-1]["metadata"] or {})]
    replies = [said(output) for output in outputs if output and "id" not in (output[-1]["metadata"] or {})]
    assert any("getting ready" in note for note in notes)
    assert len(set(replies)) >= 5
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(replies))
    assert "tiny demo model" in app.await_line("Server: ")


@pytest.mark.real_stack
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_child_process_outlives_the_app(start_app: StartApp, end: int) -> None:
    app = start_app()
    app.await_line("Server: ")
    children = psutil.Process(app.process.pid).children(recursive=True)
    assert children
    app.process.send_signal(end)
    app.process.wait(SECONDS)
    _, alive = psutil.wait_procs(children, timeout=SECONDS)
    assert not alive


@pytest.mark.real_stack
def test_a_local_stack_whose_child_died_is_started_again_for_the_next_message(start_app: StartApp) -> None:
    app = start_app()
    app.await_line("Server: ")
    client = Client(app.url, verbose=False)
    for child in psutil.Process(app.process.pid).children():
        child.kill()
        while child.status() != psutil.STATUS_ZOMBIE:  # nothing else tells that a process of another one ended
            time.sleep(0.01)
    assert re.search(r"\w", said(client.predict("Hi", max_tokens=10, api_name="/chat")))
    assert len(psutil.Process(app.process.pid).children()) == 1


@pytest.mark.real_stack
def test_without_network_at_the_first_start_one_line_says_what_is_missing(start_app: StartApp, tmp_path: Path) -> None:
    offline = {"LLAMA_UI_CACHE": str(tmp_path / "cache"), "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    offline |= {"PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": "/dev/null"}
    app = start_app(**offline)
    line = app.await_line("app.py: ")
    assert "demonstration model could not be downloaded" in line and "--base-url" in line
    assert "Traceback" not in "".join(app.output)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_small_limit_of_open_files_does_not_keep_visitors_out() -> None:
    limits = "resource.getrlimit(resource.RLIMIT_NOFILE)"
    few = f"resource.setrlimit(resource.RLIMIT_NOFILE, (256, {limits}[1]))"
    code = f"import resource, app; {few}; app._make_room(200); print({limits}[0])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert int(done.stdout) >= 200 * 3
