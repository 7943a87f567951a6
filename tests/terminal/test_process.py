"""`python -m llama_ui` as a process: with pipes, and in a pseudo-terminal."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path

import psutil
import pytest
from pexpect import EOF, fdpexpect

from tests.support import SECONDS
from tests.support.app_process import ROOT, clean
from tests.support.fake_stack import Endless, FakeStack, Hold
from tests.terminal.conftest import SYSTEM, sent

CTRL_C, UP = "\x03", "\x1b[A"
MODULE = (sys.executable, "-m", "llama_ui")
ENVIRON = clean(os.environ) | {"PYTHONPATH": str(ROOT)}
pytestmark = pytest.mark.loopback


def start(message: str, *command: str, **variables: str) -> subprocess.Popen[bytes]:
    """Starts the command and pipes the message in."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=ENVIRON | variables, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
    assert process.stdin
    process.stdin.write(message.encode())
    process.stdin.close()
    process.stdin = None  # `communicate` would flush it
    return process


def finish(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    """Waits for the end. Returns the exit status, and the rest of stdout and stderr."""
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def test_a_missing_package_is_named_with_what_installs_it() -> None:
    status, out, err = finish(start("", sys.executable, "-S", "-m", "llama_ui"))
    assert (status, out) == (1, b"")
    assert re.fullmatch(rb"python -m llama_ui: the package \w+ is missing; .* -r requirements.txt\n", err)


# Calls main as the console script does, and prints which slow packages were imported.
SCRIPT = """
import sys
from llama_ui.__main__ import main
main()
sys.exit(str({"gradio", "pandas", "prompt_toolkit"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_a_pipe_imports_neither_gradio_nor_prompt_toolkit(stack: FakeStack, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"LLAMA_STACK_CLIENT_BASE_URL={stack.url}\nLLAMA_UI_SYSTEM_PROMPT=Be brief.\n")
    stack.enqueue("ü 🦙 end")
    process = start("hi", sys.executable, "-c", SCRIPT, PYTHONIOENCODING="latin-1:strict", PYTHONUTF8="0")
    assert finish(process) == (1, b"\xfc ? end\n", b"set()\n")
    assert sent(stack) == [[("system", "Be brief."), ("user", "hi")]]


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", "</dev/null >&-", "</dev/null 2>&-"])
def test_a_closed_stream_is_an_error_without_a_traceback(stack: FakeStack, closed: str) -> None:
    process = start("", "sh", "-c", f"exec {' '.join(MODULE)} --base-url {stack.url} {closed}")
    status, _, err = finish(process)
    assert (status, b"Traceback" in err) == (1, False)


@pytest.mark.slow
def test_a_reader_that_exits_ends_the_chat_silently(stack: FakeStack) -> None:
    reply = stack.enqueue(Endless())
    process = start("hi", *MODULE, "--base-url", stack.url)
    assert process.stdout and process.stdout.read(5) == b"more "
    process.stdout.close()
    assert process.wait(SECONDS) == 141
    assert process.stderr and process.stderr.read() == b""
    assert reply.ended.wait(SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_closes_the_request_and_keeps_what_has_arrived(stack: FakeStack, number: int, status: int) -> None:
    reply = stack.enqueue("Hello", Hold())
    process = start("hi", *MODULE, "--base-url", stack.url)
    assert process.stdout and process.stdout.read(5) == b"Hello"
    process.send_signal(number)
    assert finish(process) == (status, b"\n", b"")
    assert reply.ended.wait(SECONDS)


# The signal arrives when a coroutine has been created, and is not awaited yet.
SIGNALLED = """
import asyncio, os, signal, sys
wait_for = asyncio.wait_for
asyncio.wait_for = lambda *arguments: (os.kill(os.getpid(), signal.SIGTERM), wait_for(*arguments))[1]
from llama_ui.__main__ import main
sys.exit(main())
"""


@pytest.mark.slow
def test_a_signal_ends_the_chat_without_a_warning(stack: FakeStack) -> None:
    stack.enqueue(Hold())
    process = start("hi", sys.executable, "-c", SIGNALLED, LLAMA_STACK_CLIENT_BASE_URL=stack.url)
    status, _, err = finish(process)
    assert (status, err) == (143, b"")


# Makes the terminal on stdin the controlling one, and goes on as the command.
LOGIN = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"


class Pty(fdpexpect.fdspawn):
    """A command in a pseudo-terminal."""

    def __init__(self, *command: str, **variables: str) -> None:
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (40, 200))
        login = [sys.executable, "-ISc", LOGIN, *command]
        self.process = subprocess.Popen(login, env=ENVIRON | variables, stdin=theirs)
        os.close(theirs)
        super().__init__(ours, timeout=SECONDS, encoding="utf-8", codec_errors="replace")
        self.logfile_read = io.StringIO()

    def type(self, line: str) -> None:
        """Types a line at the next prompt."""
        self.expect("User>")
        self.send(line + "\r")
        self.expect("\n")  # the prompt was drawn once more, with the line

    def exit_status(self) -> int:
        """Waits for the end."""
        self.expect(EOF)
        return self.process.wait(SECONDS)

    def close(self) -> None:
        super().close()
        self.process.kill()
        self.process.wait()


@pytest.mark.slow
def test_a_chat_in_a_terminal(stack: FakeStack) -> None:
    stack.enqueue("Once upon", Hold())
    with Pty(*MODULE, "--base-url", stack.url) as pty:
        pty.type(f"gone{CTRL_C}Tell me a story")
        pty.expect(r"\x1b\[36mAssistant> Once upon")
        pty.send(CTRL_C)
        pty.expect("Stopped.")
        pty.type("/mod\t fa\t")
        pty.expect("Model: fake/llama")
        pty.type(UP + UP)
        pty.expect("Hello")
        pty.type("bye")
        assert pty.exit_status() == 0
    story = ("user", "Tell me a story")
    assert sent(stack) == [[SYSTEM, story], [SYSTEM, story, ("assistant", "Once upon"), story]]


@pytest.mark.slow
def test_sigterm_ends_a_reply_and_a_dumb_terminal_gets_no_escape_sequences(stack: FakeStack) -> None:
    reply = stack.enqueue("Hello", Hold())
    with Pty(*MODULE, "--base-url", stack.url, TERM="dumb") as pty:
        pty.type("/help")
        pty.expect("/save FILE")
        pty.type("hi")
        pty.expect("Assistant> Hello")
        pty.process.send_signal(signal.SIGTERM)
        assert pty.exit_status() == 143
        assert "\x1b" not in pty.logfile_read.getvalue()
    assert reply.ended.wait(SECONDS)


@pytest.mark.slow
def test_ctrl_c_while_connecting_ends_the_chat() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Pty(*MODULE, "--base-url", url) as pty:
            pty.expect("Server: ")
            pty.send(CTRL_C)
            assert pty.exit_status() == 130


@pytest.mark.slow
def test_with_stdout_redirected_the_prompt_is_on_the_terminal(stack: FakeStack, tmp_path: Path) -> None:
    with Pty("/bin/sh", "-c", f"exec {' '.join(MODULE)} --base-url {stack.url} > replies.txt") as pty:
        pty.type("hi")
        pty.expect("tokens in")
        pty.expect("User>")
        pty.process.send_signal(signal.SIGTERM)
        assert pty.exit_status() == 143
        assert "Hello there" not in pty.logfile_read.getvalue()
    assert (tmp_path / "replies.txt").read_text() == "Hello there.\n"


@pytest.mark.real_stack
@pytest.mark.timeout(500)
def test_a_chat_with_the_real_local_stack() -> None:
    with Pty(*MODULE) as pty:
        pty.expect("Server: .* local stack")
        children = psutil.Process(pty.process.pid).children(recursive=True)
        pty.type("Write a story of a thousand words about a llama.")
        pty.expect(r"Assistant> .*?\w")
        pty.send(CTRL_C)
        pty.type("Tell me another one.")
        pty.expect(r"Assistant> .*?\w")  # the engine is free again
        pty.send(CTRL_C)
        pty.type("bye")
        assert pty.exit_status() == 0
    assert children and not psutil.wait_procs(children, timeout=SECONDS)[1]
