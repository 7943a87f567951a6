"""The local stack chats, keeps to itself, and leaves nothing behind."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import platformdirs
import psutil
import pytest

from llama_ui.core.errors import LocalStackError
from llama_ui.local_stack.children import Children, environment
from llama_ui.local_stack.launcher import MODEL_ID, LocalStack
from llama_ui.local_stack.model import DEMONSTRATION, fetch

ROOT = Path(__file__).resolve().parent.parent.parent
SECRETS = ("LLAMA_STACK_CLIENT_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "PIP_INDEX_URL", "HTTPS_PROXY")


def _ignore(sentence: str) -> None:
    pass


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.end()


@pytest.mark.parametrize("role", ["engine", "ogx"])
def test_the_servers_see_no_key_and_no_proxy(role: str, tmp_path: Path) -> None:
    seen = environment(role, tmp_path, dict.fromkeys((*SECRETS, "PATH", "HOMEBREW_GITHUB_API_TOKEN"), "x"))
    assert seen["PATH"] == "x"
    assert not {*SECRETS, "HOMEBREW_GITHUB_API_TOKEN"} & seen.keys()


def test_each_download_sees_the_settings_it_has_a_use_for(tmp_path: Path) -> None:
    given = dict.fromkeys((*SECRETS, "https_proxy"), "x")
    assert {*SECRETS, "https_proxy"} & environment("pip", tmp_path, given).keys() == {
        "PIP_INDEX_URL",
        "HTTPS_PROXY",
        "https_proxy",
    }
    assert {*SECRETS, "https_proxy"} & environment("hub", tmp_path, given).keys() == {
        "HF_TOKEN",
        "HTTPS_PROXY",
        "https_proxy",
    }


def test_a_child_that_dies_is_named_and_its_last_lines_are_on_the_console(
    children: Children, capfd: pytest.CaptureFixture[str]
) -> None:
    child = children.start("no such role", "The thing")
    with pytest.raises(LocalStackError, match="The thing ended unexpectedly") as caught:
        children.answer(child, 60)
    assert "KeyError" not in str(caught.value)
    assert "KeyError: 'no such role'" in capfd.readouterr().err


def test_a_child_that_is_never_ready_is_given_up(children: Children) -> None:
    child = children.start("ogx", "The thing")  # it waits for orders that do not come
    with pytest.raises(LocalStackError, match="The thing was not ready within"):
        children.answer(child, 0.01)
    assert not child.alive()


def test_the_end_interrupts_the_wait_and_removes_all_files(children: Children, tmp_path: Path) -> None:
    child = children.start("ogx", "The thing", scratch_in=tmp_path)
    assert child.scratch.parent == tmp_path
    stopper = threading.Thread(target=children.end)
    stopper.start()
    with pytest.raises(LocalStackError, match="stopped"):
        children.answer(child, 60)
    stopper.join()
    assert not child.alive()
    assert not list(tmp_path.iterdir())
    with pytest.raises(LocalStackError, match="stopped"):
        children.start("ogx", "The thing")


def test_a_missing_package_is_named_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LocalStackError, match="package xllamacpp is not installed") as caught:
        LocalStack(tmp_path / "cache", report=_ignore).start()
    assert "--base-url" in caught.value.fix
    assert not (tmp_path / "cache").exists()


def test_a_stack_that_was_never_started_is_not_alive_and_can_be_stopped(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path, report=_ignore)
    stack.stop()
    assert not stack.alive()


def test_a_model_file_that_is_none_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    model = tmp_path / "mine.gguf"
    model.write_text("hello")
    before = set(psutil.Process().children())
    with pytest.raises(LocalStackError, match=r"is not a GGUF file") as caught:
        LocalStack(tmp_path, str(model), report=_ignore).start()
    assert str(tmp_path) not in str(caught.value), "visitors see where files are"
    assert set(psutil.Process().children()) == before


@pytest.mark.real_stack
def test_a_broken_model_file_is_refused_and_the_console_says_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "mine.gguf"
    model.write_bytes(b"GGUF" + bytes(1000))
    before = set(psutil.Process().children())
    with pytest.raises(LocalStackError, match="cannot load the model file"):
        LocalStack(tmp_path, str(model), report=_ignore).start()
    assert "failed to load model" in capfd.readouterr().err
    assert set(psutil.Process().children()) == before


@pytest.fixture(scope="module")
def cache() -> Path:
    """The user's own cache, with the demonstration model in it, so that it is fetched once and not for each run."""
    cache = platformdirs.user_cache_path("llama-ui")
    children = Children()
    fetch(DEMONSTRATION, cache, children, _ignore)
    children.end()
    return cache


class Running(NamedTuple):
    """A stack, its address, and the processes that its start left running."""

    stack: LocalStack
    url: str
    processes: set[psutil.Process]


@pytest.fixture(scope="module")
def running(cache: Path) -> Iterator[Running]:
    """A running local stack and its address, started with secrets and a dead proxy in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SECRETS:
            if not name.startswith("PIP_"):
                patch.setenv(name, "http://127.0.0.1:1" if "PROXY" in name else "secret")
        patch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        patch.setenv("NO_PROXY", "pypi.org")
        before = set(psutil.Process().children())
        stack = LocalStack(cache, report=_ignore)
        url = stack.start()
    yield Running(stack, url, set(psutil.Process().children()) - before)
    stack.stop()


def _chat(url: str, **more: object) -> list[dict[str, object]]:
    """The chunks of a streamed reply."""
    message = {"role": "user", "content": "Write a two-sentence poem about llama."}
    body = {"model": MODEL_ID, "stream": True, "max_tokens": 40, "messages": [message], **more}
    with (
        httpx.Client(trust_env=False, timeout=60) as client,
        client.stream("POST", f"{url}/v1/chat/completions", json=body) as reply,
    ):
        reply.raise_for_status()
        return [json.loads(line[5:]) for line in reply.iter_lines() if line.startswith("data:")]


@pytest.mark.real_stack
def test_a_reply_is_streamed(running: Running) -> None:
    assert running.stack.alive()
    chunks = _chat(running.url, stream_options={"include_usage": True})
    texts = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]  # type: ignore[attr-defined]
    assert len([text for text in texts if text]) >= 5
    assert chunks[-1]["usage"]["completion_tokens"] > 0  # type: ignore[index]


@pytest.mark.real_stack
def test_the_server_offers_the_demonstration_model_alone(running: Running) -> None:
    with httpx.Client(trust_env=False) as client:
        assert [model["id"] for model in client.get(f"{running.url}/v1/models").json()["data"]] == [MODEL_ID]


@pytest.mark.real_stack
def test_no_chat_is_stored(running: Running) -> None:
    _chat(running.url)
    with httpx.Client(trust_env=False) as client:
        answer = client.get(f"{running.url}/v1/chat/completions")
    assert answer.is_error or answer.json()["data"] == []


@pytest.mark.real_stack
def test_the_children_listen_on_loopback_only_and_hold_no_key(running: Running) -> None:
    assert len(running.processes) == 2
    for process in running.processes:
        assert not process.children()
        listening = [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert [connection.laddr.ip for connection in listening] == ["127.0.0.1"]
        assert not {*SECRETS, "HTTP_PROXY"} & process.environ().keys()


@pytest.mark.real_stack
def test_a_stack_that_lost_a_child_can_be_started_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(psutil.Process().children())
    stack = LocalStack(cache, report=_ignore)
    stack.start()
    victim = (set(psutil.Process().children()) - before).pop()
    victim.kill()
    select.select([os.pidfd_open(victim.pid)], [], [], 60)
    assert not stack.alive()
    assert len(_chat(stack.start())) >= 5
    assert stack.alive()
    stack.stop()
    assert not stack.alive()
    assert set(psutil.Process().children()) == before
    assert not list(tmp_path.iterdir())


PHASES = ["Preparing the local stack", "Starting the model", "Starting the OGX server"]


@pytest.mark.real_stack
@pytest.mark.parametrize("phase", PHASES)
def test_a_start_can_be_stopped_and_leaves_nothing(
    phase: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(psutil.Process().children())

    def stop_there(sentence: str) -> None:
        if sentence == phase:
            threading.Thread(target=stack.stop).start()

    stack = LocalStack(cache, report=stop_there)
    with pytest.raises(LocalStackError, match="was stopped"):
        stack.start()
    assert not stack.alive()
    assert set(psutil.Process().children()) == before
    assert not list(tmp_path.iterdir())


APP = """
import sys
from pathlib import Path
from llama_ui.local_stack.launcher import LocalStack

LocalStack(Path(sys.argv[1]), report=lambda sentence: print(sentence, flush=True)).start()
print("ready", flush=True)
if sys.stdin.readline():
    raise RuntimeError("the app fails")
"""

ENDS = [("SIGKILL", phase) for phase in [*PHASES, "ready"]]
ENDS += [("SIGTERM", "ready"), ("SIGINT", "ready"), ("SIGINT", "Starting the model"), ("an exception", "ready")]


@pytest.mark.real_stack
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="awaits processes of others, which Linux alone can")
@pytest.mark.parametrize(("end", "phase"), ENDS)
def test_no_child_outlives_the_app(end: str, phase: str, cache: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", APP, str(cache)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as app:
        assert app.stdin
        assert app.stdout
        assert any(line.strip() == phase for line in app.stdout)
        assert phase != "ready" or len(_processes_about(tmp_path)) == 2
        if end == "an exception":
            app.stdin.write("now\n")
            app.stdin.flush()
        else:
            app.send_signal(getattr(signal, end))
        app.wait()
        while orphans := _processes_about(tmp_path):
            assert select.select([orphans.pop()], [], [], 30)[0], "a child outlived the app"
    assert not list(tmp_path.glob("llama-ui-*"))


def _processes_about(directory: Path) -> list[int]:
    """Descriptors of the running processes that have the directory on their command line; readable once they end."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(directory) in word for word in process.info["cmdline"] or ()):
            with contextlib.suppress(ProcessLookupError):
                found.append(os.pidfd_open(process.pid))
    return found
