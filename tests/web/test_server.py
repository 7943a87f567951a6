"""The server: where it listens, what app.py prints, how a signal ends it, and the real local stack behind it."""

import itertools
import json
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest
from gradio import networking, tunneling
from gradio_client import Client

from llama_ui.settings import Settings
from llama_ui.web import server
from tests.support import SECONDS
from tests.support.app_process import AppProcess
from tests.support.fake_stack import FakeStack, Hold
from tests.support.page import ask, reply_text, send, slow_reader

pytestmark = pytest.mark.loopback
StartApp = Callable[..., AppProcess]


def test_a_port_in_use_is_named_and_without_a_port_the_next_free_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        ports = [taken.getsockname()[1], free.getsockname()[1]]
        with pytest.raises(OSError, match=f"port {ports[0]} on 127.0.0.1 is in use .* --port .GRADIO_SERVER_PORT."):
            server.listen("127.0.0.1", ports[0])
        monkeypatch.setattr(server, "PORTS", ports)
        with pytest.raises(OSError, match="no free port was found"):
            server.listen("127.0.0.1", None)
        free.close()
        with server.listen("127.0.0.1", None) as listening:
            assert listening.getsockname()[1] == ports[1]


def test_a_low_limit_of_open_files_is_raised_for_the_visitors(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    for visitors in (200, 2000):
        server._raise_file_limit(visitors)
    assert limits == [(1500, 4096), (4096, 4096)]


def test_without_a_public_link_the_app_stays_local_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("Could not get share link from Gradio API Server.")

    monkeypatch.setattr(networking, "setup_tunnel", fail)
    server._share("127.0.0.1", 7860)
    assert "Could not create share link: Could not get share link from Gradio API Server." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        (Settings(space=True), "The secret LLAMA_UI_AUTH adds a login."),
        (Settings(space=True, auth_pairs=(("alice", "wonder"),)), ""),
    ],
    ids=["without a login", "with a login"],
)
def test_a_space_without_a_login_says_so(settings: Settings, warning: str, capsys: pytest.CaptureFixture[str]) -> None:
    server._warn_if_public(settings, "app.py")
    start = "app.py: Anyone with this page's address can use your server. "
    assert capsys.readouterr().err == (f"{start}{warning}\n" if warning else "")


@pytest.mark.parametrize("zero_gpu", [True, False])
def test_the_start_of_a_zero_gpu_space_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, zero_gpu: bool
) -> None:
    """The package `spaces` does that in `Blocks.launch`."""
    calls: list[str] = []
    spaces = SimpleNamespace(__spec__=True)
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    monkeypatch.setitem(sys.modules, "spaces.config", SimpleNamespace(Config=SimpleNamespace(zero_gpu=zero_gpu)))
    monkeypatch.setitem(sys.modules, "spaces.zero", SimpleNamespace(startup=lambda: calls.append("startup")))
    server._report_zero_gpu_start()
    assert calls == (["startup"] if zero_gpu else [])


KEY = "s3cr3t-k3y-0f-the-server"


@contextmanager
def half_a_reply(app: AppProcess, stack: FakeStack) -> Iterator[tuple[Hold, Future[str]]]:
    """What holds up the rest of a reply, and what its visitor receives."""
    app.await_line("Server: ")
    hold = Hold()
    stack.enqueue("half ", hold, "whole")
    with ThreadPoolExecutor() as pool:
        reply = pool.submit(ask, app.url, "Hi")
        assert hold.reached.wait(SECONDS)
        try:
            yield hold, reply
        finally:
            hold.release.set()


@contextmanager
def open_page(app: AppProcess) -> Iterator[None]:
    """A page that is open in a browser, as far as the app sees it."""
    with httpx.stream("GET", f"{app.url}/gradio_api/heartbeat/a-session", timeout=SECONDS) as page:
        assert "ALIVE" in next(page.iter_text())
        yield


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def assert_clean_end(app: AppProcess) -> None:
    assert app.process.wait(SECONDS) == 0
    printed = "".join(app.output)
    assert "Traceback" not in printed and "ERROR" not in printed and "Exception" not in printed
    assert KEY not in printed


@pytest.mark.slow
def test_sigterm_lets_active_replies_finish_and_rejects_new_ones(
    start_app: StartApp, stack: FakeStack, tmp_path: Path
) -> None:
    """The app is configured by a .env file, and has an open page and an upload."""
    stack.key = KEY
    (tmp_path / ".env").write_text(f"LLAMA_STACK_CLIENT_BASE_URL={stack.url}\nLLAMA_STACK_CLIENT_API_KEY={KEY}\n")
    (tmp_path / "uploads").mkdir()
    app = start_app("--trusted-proxies", "127.0.0.1", TMPDIR=str(tmp_path / "uploads"))
    assert "app.py: Anyone with this page's address can use your server. --auth FILE adds a login.\n" in app.output
    with half_a_reply(app, stack) as (hold, reply), open_page(app):
        upload = httpx.post(f"{app.url}/gradio_api/upload", files={"files": ("a.txt", b"x")}, timeout=SECONDS)
        assert upload.is_success and files(tmp_path / "uploads")
        app.process.send_signal(signal.SIGTERM)
        app.await_line("Shutting down; waiting up to 30 s for active replies")
        page = httpx.get(app.url)
        assert page.status_code == 503 and "being restarted" in page.text
        assert httpx.get(f"{app.url}/healthz").is_success
        assert httpx.get(f"{app.url}/readyz").text == "not ready: Restarting\n"
        assert "This app is being restarted. Send it again in a minute." in ask(app.url, "Hi")
        assert app.process.poll() is None
        hold.release.set()
        assert "half whole" in reply.result(SECONDS)
    assert_clean_end(app)
    assert len(stack.requests) == 1 and stack.keys[-1] == f"Bearer {KEY}"
    assert files(tmp_path / "uploads") == []


@pytest.mark.slow
def test_a_second_signal_ends_active_replies_with_a_sentence(start_app: StartApp, stack: FakeStack) -> None:
    app = start_app("--base-url", stack.url)
    with half_a_reply(app, stack) as (_, reply), open_page(app):
        app.process.send_signal(signal.SIGTERM)
        app.await_line("Shutting down")
        app.process.send_signal(signal.SIGTERM)
        last = reply.result(SECONDS).rpartition("data: ")[2]
        app.await_line("event=turn .*outcome=failed kind=Restarting")
        assert_clean_end(app)
    assert "half " in last and "ended before the reply was complete. Try again in a minute." in last
    assert len([line for line in app.output if "event=turn" in line]) == 1
    assert "Anyone with this page's address" not in "".join(app.output)


@pytest.mark.slow
def test_sigterm_waits_until_a_slow_reader_has_received_the_reply(start_app: StartApp, stack: FakeStack) -> None:
    app = start_app("--base-url", stack.url)
    app.await_line("Server: ")
    stack.enqueue("much " * 1_000_000, "and last")
    with slow_reader(app.url + send(httpx.Client(base_url=app.url), "Hi"), 100_000) as slow:
        app.await_line("event=turn .*outcome=answered")
        app.process.send_signal(signal.SIGTERM)
        app.await_line("Shutting down")
        slow.settimeout(SECONDS)
        last = b""
        while b"0\r\n\r\n" not in last and (part := slow.recv(1_000_000)):
            last = last[-1000:] + part
        assert b"and last" in last and last.endswith(b"\r\n0\r\n\r\n")
    assert_clean_end(app)


# As Gradio's tunnel client, which it runs once for each public link.
TUNNEL = "#!/bin/sh\necho 'start proxy success: http://abc.gradio.live'\nexec sleep 600\n"


@pytest.mark.slow
def test_every_log_line_is_json_and_none_has_the_key_until_ctrl_c_ends_all_processes(
    start_app: StartApp, stack: FakeStack, tmp_path: Path
) -> None:
    """Lines of the app, the web server and Gradio; also where the server repeats the key, or nobody reads a reply."""
    stack.key = KEY
    binary = tmp_path / "gradio" / "frpc" / tunneling.BINARY_FILENAME
    binary.parent.mkdir(parents=True)
    binary.write_text(TUNNEL)
    binary.chmod(0o700)
    share = {"HF_HOME": str(tmp_path), "GRADIO_SHARE_SERVER_ADDRESS": "127.0.0.1:9"}
    arguments = ("--base-url", stack.url, "--share", "--log-format", "json", "--log-content")
    app = start_app(*arguments, LLAMA_STACK_CLIENT_API_KEY=KEY, **share)
    app.await_line("Server: ")
    assert "* Running on public URL: https://abc.gradio.live\n" in app.output
    children = psutil.Process(app.process.pid).children(recursive=True)
    assert [child.name() for child in children] == ["sleep"]
    begun = len(app.output)
    with socket.create_connection(("127.0.0.1", app.port), SECONDS) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert b" 400 " in connection.recv(1000)
    assert httpx.post(f"{app.url}/gradio_api/call/nothing", json={"data": []}).status_code == 500
    for body in ({"error": {"message": f"Incorrect API key provided: {KEY}"}}, f"<html>{KEY}</html>"):
        stack.enqueue(status=401, body=body)
        assert KEY not in ask(app.url, "Hi")
        app.await_line('"outcome": "failed"')
    logged = [json.loads(line) for line in app.output[begun:]]
    assert {line.get("logger") for line in logged} == {"uvicorn.error", "llama_ui.core.logs", None}
    stack.enqueue("x" * 8_000_000, Hold())  # more than the kernel buffers
    with slow_reader(app.url + send(httpx.Client(base_url=app.url), "Hi"), 4096) as deaf:
        while b"xxxx" not in deaf.recv(4096, socket.MSG_PEEK):
            pass
        begun = len(app.output)
        app.process.send_signal(signal.SIGINT)
        app.await_line('"turn"')
        app.process.send_signal(signal.SIGTERM)  # once more, while it ends
        assert app.process.wait(SECONDS) == 0
    assert not any(line for line in app.output[begun:] if '"level"' in line or "Traceback" in line)
    assert stack.keys[-1] == f"Bearer {KEY}" and KEY not in "".join(app.output)
    assert not psutil.wait_procs(children, timeout=SECONDS)[1]


@pytest.mark.real_stack
def test_a_reply_from_the_real_local_stack_is_streamed_and_a_message_sent_early_waits(start_app: StartApp) -> None:
    app = start_app()
    client = Client(app.url, verbose=False)  # at once: the stack is not ready yet
    outputs = list(client.submit("Tell me a long story about a llama.", max_tokens=100, api_name="/chat"))
    notes = [reply_text(output) for output in outputs if output and "id" in (output[-1]["metadata"] or {})]
    replies = [reply_text(output) for output in outputs if output and "id" not in (output[-1]["metadata"] or {})]
    assert any("getting ready" in note for note in notes)
    assert len(set(replies)) > 1, notes
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(replies))
    assert "tiny demo model" in app.await_line("Server: ")


@pytest.mark.real_stack
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_child_process_outlives_the_app(start_app: StartApp, end: int) -> None:
    app = start_app()
    app.await_line("Server: ")
    children = psutil.Process(app.process.pid).children(recursive=True)
    assert children
    app.process.send_signal(end)
    app.process.wait(SECONDS)
    _, alive = psutil.wait_procs(children, timeout=SECONDS)
    assert not alive
