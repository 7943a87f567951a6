"""The launcher reports what its worker sends, names what fails, and leaves no process or file."""

import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from llama_ui.core.errors import LocalStackError
from llama_ui.local_stack import launcher
from llama_ui.local_stack.launcher import LocalStack
from tests.support import SECONDS

SECRETS = ("LLAMA_STACK_CLIENT_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "PIP_INDEX_URL", "HTTPS_PROXY", "https_proxy")
FAKE_WORKER = """
import json, os, pathlib, signal, sys
scratch = pathlib.Path(sys.argv[1])
scratch.mkdir()
def send(**fields): print(json.dumps(fields), flush=True)
"""
UseWorker = Callable[[str], None]


@pytest.fixture
def use_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> UseWorker:
    """Replaces the worker by a few lines of Python; scratch directories are in `tmp_path`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    return lambda code: monkeypatch.setattr(launcher, "WORKER", ("-c", FAKE_WORKER + code))


def test_progress_is_reported_and_a_download_has_a_bar_on_the_console(
    use_worker: UseWorker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    use_worker(
        "for done in 0, 50, 100: send(report=f'Downloading: {done} %', done=done, total=100)\n"
        "send(report='Starting the model')\n"
        "send(ready='http://127.0.0.1:1')\n"
        "sys.stdin.read()\n"
    )
    sentences: list[str] = []
    stack = LocalStack(tmp_path, report=sentences.append)
    stack.stop()  # does nothing
    assert not stack.alive()
    assert stack.start() == "http://127.0.0.1:1"
    assert stack.alive()
    downloading = [f"Downloading: {done} %" for done in (0, 50, 100)]
    assert sentences == ["Preparing the local stack", *downloading, "Starting the model"]
    assert "100%" in capfd.readouterr().err
    stack.stop()
    assert not stack.alive()
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_worker_is_raised_and_its_log_is_on_the_console(
    use_worker: UseWorker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    use_worker("for n in range(9): print('line', n, file=sys.stderr)\nsend(error=['It failed.', 'Repair it.'])\n")
    with pytest.raises(LocalStackError) as caught:
        LocalStack(tmp_path).start()
    assert (caught.value.sentence, caught.value.fix) == ("It failed.", "Repair it.")
    assert capfd.readouterr().err.split("\n") == [*(f"  line {n}" for n in range(4, 9)), ""]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("1 / 0", "The local stack ended unexpectedly."),
        ("send(report='…', part='The model engine'); 1 / 0", "The model engine ended unexpectedly."),
        (
            "send(report='…', part='The OGX server'); os.kill(os.getpid(), signal.SIGALRM)",
            "The OGX server was not ready within 180 s.",
        ),
    ],
)
def test_a_worker_that_ends_is_named_by_what_it_was_about_to_start(
    code: str, sentence: str, use_worker: UseWorker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    use_worker(code)
    with pytest.raises(LocalStackError) as caught:
        LocalStack(tmp_path).start()
    assert caught.value.sentence == sentence
    assert ("ZeroDivisionError" in capfd.readouterr().err) == ("1 / 0" in code)


def test_stop_interrupts_a_start_and_leaves_nothing(use_worker: UseWorker, tmp_path: Path) -> None:
    use_worker("import subprocess; subprocess.Popen(['sleep', '600'])\nsend(report='now')\nsys.stdin.read()\n")
    processes: list[psutil.Process] = []

    def stop_now(sentence: str) -> None:
        if sentence == "now":
            processes.extend(psutil.Process().children(recursive=True))
            stack.stop()

    stack = LocalStack(tmp_path, report=stop_now)
    with pytest.raises(LocalStackError, match="was stopped"):
        stack.start()
    assert len(processes) >= 2
    assert not psutil.wait_procs(processes, timeout=SECONDS)[1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("model", "other"), [(None, "HF_TOKEN"), ("hf://a/b/c.gguf", "PIP_INDEX_URL")])
def test_the_worker_gets_only_what_fetching_the_model_needs(
    use_worker: UseWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str | None, other: str
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")
    use_worker("send(ready=json.dumps([sys.argv[3:], list(os.environ)]))")
    stack = LocalStack(tmp_path, model)
    arguments, variables = json.loads(stack.start())
    stack.stop()
    assert arguments == ([model] if model else [])
    assert "PATH" in variables
    assert {*SECRETS} - {*variables} == {"LLAMA_STACK_CLIENT_API_KEY", "OPENAI_API_KEY", other}


def test_a_missing_package_is_named_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LocalStackError, match="package xllamacpp is not installed") as caught:
        LocalStack(tmp_path / "cache").start()
    assert "--base-url" in caught.value.fix
    assert not (tmp_path / "cache").exists()
