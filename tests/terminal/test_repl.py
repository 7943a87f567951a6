"""The conversation loop with a keyboard and a screen, and one message through a pipe, both in process."""

import asyncio
import io
import signal
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from llama_ui.settings import load
from llama_ui.terminal import repl
from llama_ui.terminal.repl import chat
from llama_ui.terminal.session import Session
from tests.support import SECONDS
from tests.support.fake_stack import MODEL, Break, FakeStack, Hold
from tests.terminal.conftest import SYSTEM, Terminal, sent

CTRL_D = "\x04"
pytestmark = pytest.mark.loopback


@pytest.mark.parametrize("keys", ["exit\r", "QUIT\r", "  Bye \r", f"   \r{CTRL_D}"])
async def test_an_exit_word_or_ctrl_d_ends_the_chat(terminal: Terminal, keys: str) -> None:
    terminal.type(keys)
    await chat(terminal.session())
    assert terminal.stack.requests == []


async def test_ctrl_c_before_the_first_token_closes_the_request(terminal: Terminal) -> None:
    hold = Hold()
    stopped = terminal.stack.enqueue(hold)
    terminal.type("One\r/code\rTwo\rbye\r")
    chatting = asyncio.create_task(chat(terminal.session()))
    assert await asyncio.to_thread(hold.reached.wait, SECONDS)
    signal.raise_signal(signal.SIGINT)
    await terminal.screen.shows("Stopped.")
    await terminal.screen.shows("'One'")  # in the code of the stopped request
    await chatting
    assert await asyncio.to_thread(stopped.ended.wait, SECONDS)
    assert sent(terminal.stack)[1] == [SYSTEM, ("user", "One\n\nTwo")]


async def test_with_no_stream_ctrl_c_prints_what_has_arrived(terminal: Terminal) -> None:
    terminal.stack.enqueue("Once upon", Hold())
    terminal.type("Tell me a story\rbye\r")
    chatting = asyncio.create_task(chat(terminal.session("--no-stream")))
    await terminal.screen.shows("Receiving the reply…")
    assert "Once upon" not in terminal.screen.text
    signal.raise_signal(signal.SIGINT)
    await terminal.screen.shows("Assistant> Once upon\nStopped.")
    await chatting


async def test_a_server_that_starts_later_gets_the_next_message(terminal: Terminal) -> None:
    terminal.stack.stop()
    chatting = asyncio.create_task(chat(terminal.session()))
    await terminal.screen.shows(f"Server: {terminal.stack.url}\n")
    await terminal.screen.shows(terminal.stack.url)  # in the error
    with FakeStack(port=terminal.stack.port):
        terminal.type("hi\rbye\r")
        await terminal.screen.shows("Assistant> Hello there.")
        await chatting


type Pipe = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pipe(stack: FakeStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Pipe:
    """Pipes a message in, and returns the exit status, stdout and stderr: `pipe("hi", "--model", "x")`."""

    def run(message: str | bytes, *options: str) -> tuple[int, str, str]:
        data = message.encode() if isinstance(message, str) else message
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        status = repl.run(load(["--base-url", stack.url, *options], {"LLAMA_STACK_CLIENT_API_KEY": "wr0ng"}))
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("  def f():\n\n\treturn 'ü'\n\n", "  def f():\n\n\treturn 'ü'"),
        (b"\xef\xbb\xbfhi\r\n", "hi"),  # with a byte order mark
        ("/models\n", "/models"),
    ],
)
def test_the_input_is_one_message_and_stdout_the_reply(
    pipe: Pipe, stack: FakeStack, data: str | bytes, message: str
) -> None:
    assert pipe(data) == (0, "Hello there.\n", "")
    assert sent(stack) == [[SYSTEM, ("user", message)]]
    assert stack.requests[0]["model"] == MODEL


def test_an_exit_word_is_not_sent(pipe: Pipe, stack: FakeStack) -> None:
    assert pipe("exit\n") == pipe("  BYE \n") == (0, "", "")
    assert stack.calls == []


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b" \n\n", "The message is blank."),
        (b"caf\xe9", "The input is not UTF-8 text."),
        (b"x" * 11, "The message has 11 characters; at most 10"),
        ("ü".encode() * 30, "The message has more than 10 characters"),  # no more of it is read
        (b"hi", "The system prompt has 29 characters; at most 10"),
    ],
)
def test_input_that_cannot_be_sent_is_one_sentence_on_stderr(
    pipe: Pipe, stack: FakeStack, data: bytes, error: str
) -> None:
    status, out, err = pipe(data, "--max-message-chars", "10")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(error)
    assert stack.calls == []


@pytest.mark.parametrize("failure", ["server", "key", "model", "connection", "program (ZeroDivisionError)"])
def test_a_failure_is_one_sentence_on_stderr_and_status_1(
    pipe: Pipe, stack: FakeStack, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if failure == "server":
        stack.stop()
    if failure.startswith("program"):
        monkeypatch.setattr(Session, "send", Mock(side_effect=ZeroDivisionError("wr0ng")))
    stack.key = "s3cr3t" if failure == "key" else None
    stack.enqueue("Hello", Break())
    status, out, err = pipe("hi", *(["--model", "nonsense"] if failure == "model" else []))
    assert (status, out, err.count("\n")) == (1, "Hello\n" if failure == "connection" else "", 1)
    assert failure in err and "wr0ng" not in err and "`" not in err


def test_a_pipe_gets_the_exact_text(pipe: Pipe, stack: FakeStack) -> None:
    text = "\n\x1b[31mred\x1b[0m\x07 \u202e\ttab\r\nend 🦙"
    stack.enqueue(text[:9], text[9:])
    assert pipe("hi") == (0, f"{text}\n", "")
