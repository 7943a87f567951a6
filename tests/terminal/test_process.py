"""`python -m llama_ui` as a process: with pipes, and in a pseudo-terminal."""

import io
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import psutil
import pytest
from pexpect import fdpexpect

from tests.support.app_process import ROOT, clean
from tests.support.fake_stack import Endless, FakeStack, Hold
from tests.terminal.conftest import SECONDS, SYSTEM, sent

CTRL_C, UP = "\x03", "\x1b[A"
MODULE = (sys.executable, "-m", "llama_ui")
pytestmark = pytest.mark.loopback


def environ(**variables: str) -> dict[str, str]:
    """The environment without a developer's own settings."""
    return clean(os.environ) | {"PYTHONPATH": str(ROOT), "TERM": "xterm"} | variables


def start(message: str, *command: str, **variables: str) -> subprocess.Popen[bytes]:
    """Starts the command and pipes the message in."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environ(**variables), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
    assert process.stdin
    process.stdin.write(message.encode())
    process.stdin.close()
    process.stdin = None  # `communicate` would flush it
    return process


def run(message: str, *command: str, **variables: str) -> tuple[int, str, str]:
    """Runs the command. Returns the exit status, stdout and stderr."""
    process = start(message, *command, **variables)
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out.decode(), err.decode()


def test_a_bad_option_is_named_in_one_line() -> None:
    error = "python -m llama_ui: --port: 'abc' is not a port number from 1 to 65535 (see --help)\n"
    assert run("", *MODULE, "--port", "abc") == (2, "", error)


def test_a_missing_package_is_named_with_what_installs_it() -> None:
    status, out, err = run("", sys.executable, "-S", "-m", "llama_ui")
    assert (status, out) == (1, "")
    assert re.fullmatch(r"python -m llama_ui: the package \w+ is missing; .* -r requirements.txt\n", err)


# Main as the console script calls it; afterwards it reports which slow packages it has imported.
SCRIPT = """
import sys
from llama_ui.__main__ import main
status = main()
sys.exit(status or str({"gradio", "pandas", "prompt_toolkit"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_a_pipe_imports_neither_gradio_nor_prompt_toolkit(stack: FakeStack, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"LLAMA_STACK_CLIENT_BASE_URL={stack.url}\nLLAMA_UI_SYSTEM_PROMPT=Be brief.\n")
    stack.enqueue("ü 🦙 end")
    latin = {"PYTHONIOENCODING": "latin-1:strict", "PYTHONUTF8": "0"}
    process = start("hi", sys.executable, "-c", SCRIPT, **latin)
    assert process.communicate(timeout=SECONDS) == (b"\xfc ? end\n", b"set()\n")
    assert sent(stack) == [[("system", "Be brief."), ("user", "hi")]]


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", "</dev/null >&-", "</dev/null 2>&-"])
def test_a_closed_stream_is_an_error_without_a_traceback(stack: FakeStack, closed: str) -> None:
    status, _, err = run("", "sh", "-c", f"exec {' '.join(MODULE)} --base-url {stack.url} {closed}")
    assert (status, "Traceback" in err) == (1, False)


@pytest.mark.slow
def test_the_reply_is_streamed_into_a_pipe(stack: FakeStack) -> None:
    hold = Hold()
    stack.enqueue("Hello", hold, " there")
    process = start("hi", *MODULE, "--base-url", stack.url)
    assert process.stdout and process.stdout.read(5) == b"Hello"
    hold.release.set()
    assert (process.communicate(timeout=SECONDS), process.returncode) == ((b" there\n", b""), 0)


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
    assert (process.communicate(timeout=SECONDS), process.returncode) == ((b"\n", b""), status)
    assert reply.ended.wait(SECONDS)


# In a pseudo-terminal

# Makes the terminal on stdin the controlling one, and goes on as the command.
LOGIN = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"


class Pty:
    """A command in a pseudo-terminal. `text` is all that it has printed."""

    def __init__(self, command: tuple[str, ...], **variables: str) -> None:
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (40, 200))
        login = [sys.executable, "-ISc", LOGIN, *command]
        self.process = subprocess.Popen(login, env=environ(**variables), stdin=theirs)
        os.close(theirs)
        self._log = io.StringIO()
        self._terminal = fdpexpect.fdspawn(ours, timeout=SECONDS, encoding="utf-8", codec_errors="replace")
        self._terminal.logfile_read = self._log
        self.press = self._terminal.send

    @property
    def text(self) -> str:
        return self._log.getvalue()

    def shows(self, pattern: str | type[pexpect.EOF], seconds: float = SECONDS) -> None:
        """Waits for a pattern, after those that were waited for before."""
        self._terminal.expect(pattern, timeout=seconds)

    def type(self, line: str) -> None:
        """Types a line at the next prompt."""
        self.shows("User>")
        self.press(line + "\r")
        self.shows("\n")  # the prompt was drawn once more, with the line

    def exit_status(self) -> int:
        """Waits for the end."""
        self.shows(pexpect.EOF)
        assert "Traceback" not in self.text
        return self.process.wait(SECONDS)

    def close(self) -> None:
        self._terminal.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def open_pty() -> Iterator[Callable[..., Pty]]:
    """Runs a command in a pseudo-terminal: `open_pty(*command, NO_COLOR="1")`."""
    opened: list[Pty] = []

    def start(*command: str, **variables: str) -> Pty:
        opened.append(Pty(command, **variables))
        return opened[-1]

    yield start
    for pty in opened:
        pty.close()


@pytest.mark.slow
def test_a_chat_in_a_terminal(open_pty: Callable[..., Pty], stack: FakeStack) -> None:
    stack.enqueue("Once upon", Hold())
    pty = open_pty(*MODULE, "--base-url", stack.url)
    pty.type(f"gone{CTRL_C}Tell me a story")
    pty.shows(r"\x1b\[36mAssistant> \x1b\[0m\x1b\[36mOnce upon")
    pty.press(CTRL_C)
    pty.shows("Stopped.")
    pty.type("/mod\t fa\t")
    pty.shows("Model: fake/llama")
    pty.type(UP + UP)
    pty.shows("Hello")
    pty.type("bye")
    assert pty.exit_status() == 0
    story = ("user", "Tell me a story")
    assert sent(stack) == [[SYSTEM, story], [SYSTEM, story, ("assistant", "Once upon"), story]]


@pytest.mark.slow
def test_a_dumb_terminal_gets_no_escape_sequences_and_sigterm_ends_the_chat(
    open_pty: Callable[..., Pty], stack: FakeStack
) -> None:
    reply = stack.enqueue("Hello", Hold())
    pty = open_pty(*MODULE, "--base-url", stack.url, TERM="dumb")
    pty.type("/help")
    pty.type("hi")
    pty.shows("Assistant> Hello")
    pty.process.send_signal(signal.SIGTERM)
    assert pty.exit_status() == 143
    assert reply.ended.wait(SECONDS)
    assert "\x1b" not in pty.text


@pytest.mark.slow
def test_with_stdout_redirected_the_prompt_is_on_the_terminal(
    open_pty: Callable[..., Pty], stack: FakeStack, tmp_path: Path
) -> None:
    pty = open_pty("/bin/sh", "-c", f"exec {' '.join(MODULE)} --base-url {stack.url} > replies.txt")
    pty.type("hi")
    pty.shows("tokens in")
    pty.shows("User>")
    pty.process.send_signal(signal.SIGTERM)
    assert pty.exit_status() == 143
    assert (tmp_path / "replies.txt").read_text() == "Hello there.\n"
    assert "Hello there" not in pty.text


# With the real local stack


@pytest.mark.real_stack
@pytest.mark.timeout(500)
def test_a_chat_with_the_real_local_stack(open_pty: Callable[..., Pty]) -> None:
    pty = open_pty(*MODULE)
    pty.shows("Server: .* local stack")
    children = psutil.Process(pty.process.pid).children(recursive=True)
    assert children
    pty.type("Write a story of a thousand words about a llama.")
    pty.shows(r"Assistant> .*?\w")
    pty.press(CTRL_C)
    pty.type("hi")
    pty.shows(r"Assistant> .*?\w")
    pty.shows(r"\d tokens in, [\d,]+ out · ", 400)  # up to 1,024 tokens, however slow the machine
    pty.type("/models")
    pty.shows(r"\* local/SmolLM2-135M-Instruct")
    pty.type("bye")
    assert pty.exit_status() == 0
    assert not psutil.wait_procs(children, timeout=SECONDS)[1]


@pytest.mark.real_stack
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_the_local_stack_ends_with_the_terminal_also_while_it_starts(open_pty: Callable[..., Pty], number: int) -> None:
    pty = open_pty(*MODULE)
    pty.shows("Starting the OGX server")
    children = psutil.Process(pty.process.pid).children(recursive=True)
    assert children
    pty.process.send_signal(number)
    pty.exit_status()
    assert not psutil.wait_procs(children, timeout=SECONDS)[1]
