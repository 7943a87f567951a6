"""`python -m llama_ui` as a person and as a script start it: in a real pseudo-terminal, and through pipes."""

import io
import itertools
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pexpect
import psutil
import pytest
from pexpect import fdpexpect

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import ChatError
from llama_ui.terminal import repl
from llama_ui.terminal.output import Output
from tests.support.app_process import ROOT, clean
from tests.support.fake_stack import MODEL, Break, Endless, FakeStack, Hold

SECONDS = 60
PROG = "python -m llama_ui"
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"
ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(?:36|2|31)m")
pytestmark = pytest.mark.loopback


def variables(folder: Path, **more: str) -> dict[str, str]:
    """Without what a developer has set; and no history of theirs is read or written."""
    ours = {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state")}
    return clean(os.environ) | ours | {"TERM": "xterm", "NO_COLOR": "1"} | more


class Piped:
    """Runs it once with pipes: `piped("hi", "--model", "x")`."""

    def __init__(self, folder: Path, stack: FakeStack) -> None:
        self.folder, self.stack = folder, stack

    def __call__(self, message: str | bytes | IO[bytes], *arguments: str, **more: str) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        given: dict[str, Any] = {"input": message.encode() if isinstance(message, str) else message}
        if not isinstance(message, str | bytes):
            given = {"stdin": message}
        ended = subprocess.run(
            [sys.executable, "-m", "llama_ui", "--base-url", self.stack.url, *arguments],
            cwd=self.folder,
            env=variables(self.folder, **more),
            capture_output=True,
            timeout=SECONDS,
            **given,
        )
        return ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode()

    def start(self, message: str, *arguments: str) -> subprocess.Popen[bytes]:
        """As a process that still runs, its message sent."""
        process = subprocess.Popen(
            [sys.executable, "-m", "llama_ui", "--base-url", self.stack.url, *arguments],
            cwd=self.folder,
            env=variables(self.folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdin
        process.stdin.write(message.encode())
        process.stdin.close()
        process.stdin = None  # else `communicate` would flush it
        return process


@pytest.fixture
def piped(stack: FakeStack, tmp_path: Path) -> Piped:
    return Piped(tmp_path, stack)


# Makes the terminal on stdin its own, and goes on as the command.
LOGIN = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"


class Person:
    """Somebody at a terminal. `shown` is all that it received by now, as it came."""

    def __init__(self, command: list[str], folder: Path, **more: str) -> None:
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (40, 200))
        self.process = subprocess.Popen(
            [sys.executable, "-ISc", LOGIN, *command], cwd=folder, env=variables(folder, **more), stdin=theirs
        )
        os.close(theirs)
        self._log = io.StringIO()
        self.terminal = fdpexpect.fdspawn(ours, timeout=SECONDS, encoding="utf-8", codec_errors="replace")
        self.terminal.logfile_read = self._log

    @property
    def shown(self) -> str:
        return self._log.getvalue()

    def sees(self, text: str) -> None:
        """Awaits a text, after those that were awaited before."""
        self.terminal.expect_exact(text)

    def reads(self, pattern: str | type[pexpect.EOF], seconds: float = SECONDS) -> None:
        """As `sees`, a pattern."""
        self.terminal.expect(pattern, timeout=seconds)

    def types(self, keys: str) -> None:
        """At the prompt, which is awaited."""
        self.sees("User>")
        self.terminal.send(keys)

    def says(self, line: str) -> None:
        self.types(line + "\r")
        self.sees("\n")  # it is taken; the prompt is drawn once more with it

    def stops(self) -> None:
        """Ctrl-C, while something else than the prompt is shown."""
        self.terminal.send(CTRL_C)

    def leaves(self) -> int:
        self.says("bye")
        return self.ended()

    def ended(self) -> int:
        """Awaits the end; the exit status."""
        self.reads(pexpect.EOF)
        assert "Traceback" not in self.shown
        return self.process.wait(SECONDS)

    def close(self) -> None:
        self.terminal.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


Sit = Callable[..., Person]


@pytest.fixture
def sit(stack: FakeStack, tmp_path: Path) -> Iterator[Sit]:
    """Sits somebody down: `sit("--no-stream", NO_COLOR="1")`."""
    people: list[Person] = []

    def start(*arguments: str, base_url: str = "", **more: str) -> Person:
        command = [sys.executable, "-m", "llama_ui", "--base-url", base_url or stack.url, *arguments]
        people.append(Person(command, tmp_path, **more))
        return people[-1]

    yield start
    for person in people:
        person.close()


def sent(stack: FakeStack) -> list[list[tuple[str, str]]]:
    """Each request's messages: role and text."""
    return [[(message["role"], message["content"]) for message in body["messages"]] for body in stack.requests]


SYSTEM = ("system", "You are a friendly assistant.")


# Through a pipe


def test_a_piped_message_gets_the_reply_alone(piped: Piped) -> None:
    assert piped("hi\n") == (0, "Hello there.\n", "")
    assert sent(piped.stack) == [[SYSTEM, ("user", "hi")]]
    assert piped.stack.requests[0]["model"] == MODEL


def test_all_of_a_file_is_one_message_as_it_is_written(piped: Piped) -> None:
    assert piped("  def f():\n\n\treturn 'ü'\n\n")[0] == 0
    assert sent(piped.stack)[0][1:] == [("user", "  def f():\n\n\treturn 'ü'")]


def test_a_byte_order_mark_is_no_part_of_the_message(piped: Piped) -> None:
    piped(b"\xef\xbb\xbfhi\r\n")
    assert sent(piped.stack)[0][-1] == ("user", "hi")


@pytest.mark.parametrize("word", ["exit\n", "Quit", "  BYE \n"])
def test_an_exit_word_through_a_pipe_ends_without_a_word(piped: Piped, word: str) -> None:
    assert piped(word) == (0, "", "")
    assert piped.stack.asked == []


def test_a_piped_command_is_a_message(piped: Piped) -> None:
    piped("/models\n")
    assert sent(piped.stack)[0][-1] == ("user", "/models")


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (b"", "message is blank"),
        (b" \n\n", "message is blank"),
        (b"caf\xe9", "not text in UTF-8"),
        (b"x" * 11, "has 11 characters; at most 10"),
        ("ü".encode() * 30, "more than 10 characters"),
    ],
)
def test_what_cannot_be_sent_is_told_in_one_sentence(piped: Piped, message: bytes, named: str) -> None:
    status, out, err = piped(message, "--max-message-chars", "10", "--system-prompt", "short")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert named in err
    assert piped.stack.asked == []


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a file without an end")
def test_input_without_an_end_is_not_read_for_ever(piped: Piped) -> None:
    with Path("/dev/zero").open("rb") as zeros:
        assert piped(zeros)[0] == 1


def test_a_system_prompt_that_is_too_long_is_told(piped: Piped) -> None:
    status, _, err = piped("hi", "--max-message-chars", "10")
    assert (status, "The system prompt has 29 characters" in err) == (1, True)


def test_no_server_is_one_sentence_and_status_1(piped: Piped) -> None:
    piped.stack.stop()
    status, out, err = piped("hi")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"No server answers at {piped.stack.url}. ")


def test_a_refused_key_is_one_sentence_and_status_1(piped: Piped) -> None:
    piped.stack.key = "s3cr3t"
    status, out, err = piped("hi", LLAMA_STACK_CLIENT_API_KEY="wr0ng")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "key" in err and "wr0ng" not in err


def test_a_model_that_the_server_lacks_is_one_sentence_and_status_1(piped: Piped) -> None:
    status, out, err = piped("hi", "--model", "nonsense")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "The server has no model nonsense." in err


def test_what_came_before_the_connection_was_lost_is_on_stdout(piped: Piped) -> None:
    hold = Hold()
    piped.stack.enqueue("Hello", hold, Break())
    process = piped.start("hi")
    assert process.stdout and process.stdout.read(5) == b"Hello"
    hold.release.set()
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, err.count(b"\n")) == (1, b"\n", 1)


def test_the_reply_is_streamed_into_a_pipe(piped: Piped) -> None:
    hold = Hold()
    piped.stack.enqueue("Hello", hold, " there")
    process = piped.start("hi")
    assert process.stdout and process.stdout.read(5) == b"Hello"
    assert process.poll() is None
    hold.release.set()
    assert process.communicate(timeout=SECONDS) == (b" there\n", b"")
    assert process.returncode == 0


def test_with_no_stream_the_reply_comes_whole(piped: Piped) -> None:
    hold = Hold()
    piped.stack.enqueue("Hello", hold, " there")
    process = piped.start("hi", "--no-stream")
    assert hold.reached.wait(SECONDS)
    hold.release.set()
    assert process.stdout and process.stdout.read(100).startswith(b"Hello there")
    assert process.communicate(timeout=SECONDS)[1] == b""


def test_a_reply_that_ends_its_line_gets_no_second_line_break(piped: Piped) -> None:
    piped.stack.enqueue("Hello\n")
    assert piped("hi")[1] == "Hello\n"


def test_the_exact_text_goes_into_a_pipe(piped: Piped) -> None:
    text = "\n\x1b[31mred\x1b[0m\x07 \u202e\ttab\r\nend 🦙"
    piped.stack.enqueue(*text)
    assert piped("hi") == (0, text + "\n", "")


def test_half_a_character_does_not_end_the_reply(piped: Piped) -> None:
    piped.stack.enqueue("a\ud800b")
    status, out, _ = piped("hi")
    assert (status, out[0], out[-2:]) == (0, "a", "b\n")


def test_the_locale_may_be_a_small_one(piped: Piped) -> None:
    piped.stack.enqueue("ü 🦙 end")
    assert piped("hi", PYTHONIOENCODING="latin-1:strict", PYTHONUTF8="0")[0] == 0


def test_a_reader_who_has_enough_ends_it_without_a_word(piped: Piped) -> None:
    reply = piped.stack.enqueue(Endless())
    process = piped.start("hi")
    assert process.stdout and process.stdout.read(5) == b"more "
    process.stdout.close()
    assert process.wait(SECONDS) == 141
    assert process.stderr and process.stderr.read() == b""
    assert reply.ended.wait(SECONDS)


@pytest.mark.parametrize(("end", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_request_and_leaves_what_came(piped: Piped, end: int, status: int) -> None:
    reply = piped.stack.enqueue("Hello", Hold())
    process = piped.start("hi")
    assert process.stdout and process.stdout.read(5) == b"Hello"
    process.send_signal(end)
    assert process.communicate(timeout=SECONDS) == (b"\n", b"")
    assert process.returncode == status
    assert reply.ended.wait(SECONDS)


def test_thoughts_are_told_apart_from_the_answer(piped: Piped) -> None:
    piped.stack.enqueue("<think>A greeting.</think>", "Hello.")
    assert piped("hi") == (0, "Hello.\n", "A greeting.\n")


def test_what_turns_out_to_be_a_thought_stands_on_a_line_of_its_own(piped: Piped) -> None:
    hold = Hold()
    piped.stack.enqueue("A greeting.", hold, "\n</think>Hello.")
    process = piped.start("hi")
    assert process.stdout and process.stdout.read(11) == b"A greeting."
    hold.release.set()
    assert process.communicate(timeout=SECONDS)[0] == b"\nHello.\n"


def test_an_ending_at_the_token_limit_is_told_on_stderr(piped: Piped) -> None:
    piped.stack.enqueue("Hello", finish_reason="length")
    status, out, err = piped("hi")
    assert (status, out, err.count("\n")) == (0, "Hello\n", 1)
    assert "token limit" in err


def test_an_empty_reply_is_an_error(piped: Piped) -> None:
    piped.stack.enqueue()
    status, out, err = piped("hi")
    assert (status, out, err.count("\n")) == (1, "", 1)


def test_the_env_file_is_read(piped: Piped) -> None:
    (piped.folder / ".env").write_text("LLAMA_UI_SYSTEM_PROMPT=Be brief.\nLLAMA_STACK_CLIENT_API_KEY=s3cr3t\n")
    piped.stack.key = "s3cr3t"
    assert piped("hi")[0] == 0
    assert sent(piped.stack)[0][0] == ("system", "Be brief.")


@pytest.mark.parametrize("closed", ["<&-", "</dev/null >&-", "</dev/null 2>&-"])
def test_a_closed_stream_is_no_crash(piped: Piped, closed: str) -> None:
    command = f"exec {sys.executable} -m llama_ui --base-url {piped.stack.url} {closed}"
    ended = subprocess.run(
        ["sh", "-c", command], cwd=piped.folder, env=variables(piped.folder), capture_output=True, timeout=SECONDS
    )
    assert (ended.returncode, b"Traceback" in ended.stderr) == (1, False)


def test_gradio_is_not_imported(piped: Piped) -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "llama_ui", "--base-url", piped.stack.url],
        cwd=piped.folder,
        env=variables(piped.folder),
        input="hi",
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ended.stdout == "Hello there.\n"
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "llama_ui.terminal.repl" in imported
    assert not {"gradio", "pandas", "prompt_toolkit"} & imported


def test_a_bad_option_is_named_in_one_line(piped: Piped) -> None:
    status, out, err = piped("hi", "--port", "abc")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"{PROG}: --port: 'abc'")


def test_help_shows_how_it_is_started(piped: Piped) -> None:
    status, out, _ = piped("", "--help")
    assert (status, out.startswith(f"usage: {PROG} ")) == (0, True)
    assert "--no-stream" in out and "LLAMA_UI_NO_STREAM" in out


def test_the_doctor_is_in_here_too(piped: Piped) -> None:
    status, out, _ = piped("", "--check", "--json")
    assert (status, json.loads(out)["passed"]) == (0, True)


# In a terminal


def test_a_conversation_keeps_its_history_and_its_system_prompt(sit: Sit, stack: FakeStack) -> None:
    stack.enqueue("First reply.")
    stack.enqueue("Second reply.")
    person = sit()
    person.sees(f"Server: {stack.url}")
    person.sees(f"Model: {MODEL}")
    person.says("One")
    person.sees("Assistant> First reply.")
    person.sees("7 tokens in, 1 out · stop")
    person.says("Two")
    person.sees("Assistant> Second reply.")
    assert person.leaves() == 0
    first = [SYSTEM, ("user", "One")]
    assert sent(stack) == [first, [*first, ("assistant", "First reply."), ("user", "Two")]]


@pytest.mark.parametrize("word", ["exit\r", "QUIT\r", "  Bye \r", CTRL_D])
def test_an_exit_word_or_ctrl_d_ends_it(sit: Sit, stack: FakeStack, word: str) -> None:
    person = sit()
    person.types(word)
    assert person.ended() == 0
    assert stack.requests == []


def test_a_blank_line_is_not_sent(sit: Sit, stack: FakeStack) -> None:
    person = sit()
    person.says("   ")
    assert person.leaves() == 0
    assert stack.requests == []


def test_the_reply_is_in_colour_and_grows(sit: Sit, stack: FakeStack) -> None:
    hold = Hold()
    stack.enqueue("Hello", hold, " there")
    person = sit(NO_COLOR="")
    person.says("hi")
    person.reads(r"\x1b\[36mAssistant> \x1b\[0m\x1b\[36mHello\x1b\[0m")
    hold.release.set()
    person.reads(r"\x1b\[36m there\x1b\[0m")
    assert person.leaves() == 0


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"NO_COLOR": "", "TERM": "dumb"}])
def test_without_colours_there_are_none(sit: Sit, plain: dict[str, str]) -> None:
    person = sit(**plain)
    person.says("hi")
    person.sees("Assistant> Hello there.")
    assert person.leaves() == 0
    assert not COLOUR.search(person.shown)


def test_a_dumb_terminal_gets_no_escape_sequences(sit: Sit) -> None:
    person = sit(TERM="dumb")
    person.says("/help")
    person.says("hi")
    person.sees("Assistant> Hello there.")
    assert person.leaves() == 0
    assert ESCAPE not in person.shown


HOSTILE = "\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x1b\\\x9b2J\x9d0;owned\x9c\x1b[2J\x08\x7f\x00"


def test_a_reply_cannot_command_the_terminal(sit: Sit, stack: FakeStack) -> None:
    stack.enqueue(f"<think>{HOSTILE}</think>", f"{HOSTILE}Over.")
    person = sit(TERM="dumb")
    person.says("hi")
    person.sees("Over.")
    assert person.leaves() == 0
    assert person.shown.count("]0;owned") == 2, "what can be seen of it is shown"
    assert not re.findall(r"[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]", person.shown)


def test_a_servers_words_cannot_command_the_terminal(sit: Sit, stack: FakeStack) -> None:
    stack.enqueue(status=500, body={"error": {"message": HOSTILE}})
    stack.enqueue("Hello", finish_reason=HOSTILE)
    person = sit(TERM="dumb")
    person.says("hi")
    person.says("hi")
    person.sees("Hello")
    assert person.leaves() == 0
    assert not re.findall(r"[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]", person.shown)


def test_ctrl_c_at_the_prompt_clears_the_line_alone(sit: Sit, stack: FakeStack) -> None:
    person = sit()
    person.types("gone" + CTRL_C)
    person.says("hi")
    person.sees("Assistant> Hello there.")
    assert person.leaves() == 0
    assert sent(stack) == [[SYSTEM, ("user", "hi")]]


def test_ctrl_c_stops_a_reply_and_keeps_what_came(sit: Sit, stack: FakeStack) -> None:
    stopped = stack.enqueue("Once upon", Hold(), " a time")
    person = sit()
    person.says("Tell me a story")
    person.sees("Once upon")
    person.stops()
    person.sees("Stopped.")
    assert stopped.ended.wait(SECONDS)
    person.says("Go on")
    person.sees("Assistant> Hello there.")
    assert person.leaves() == 0
    first = [SYSTEM, ("user", "Tell me a story")]
    assert sent(stack)[1] == [*first, ("assistant", "Once upon"), ("user", "Go on")]


def test_ctrl_c_before_the_first_token_ends_the_request(sit: Sit, stack: FakeStack) -> None:
    hold = Hold()
    stopped = stack.enqueue(hold)
    person = sit()
    person.says("One")
    assert hold.reached.wait(SECONDS)
    person.stops()
    person.sees("Stopped.")
    assert stopped.ended.wait(SECONDS)
    person.says("Two")
    person.sees("Assistant> Hello there.")
    assert person.leaves() == 0
    assert sent(stack)[1] == [SYSTEM, ("user", "One\n\nTwo")]


def test_with_no_stream_ctrl_c_shows_what_came(sit: Sit, stack: FakeStack) -> None:
    stack.enqueue("Once upon", Hold())
    person = sit("--no-stream")
    person.says("Tell me a story")
    person.sees("The reply is coming")
    assert "Once upon" not in person.shown
    person.stops()
    person.sees("Assistant> ")
    person.sees("Once upon")
    person.sees("Stopped.")
    assert person.leaves() == 0


def test_ctrl_c_while_the_server_is_looked_for_ends_it(sit: Sit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        person = sit(base_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        person.sees("Server: ")
        person.stops()
        assert person.ended() == 130


@pytest.mark.parametrize("message", ["", "hi"])
def test_sigterm_ends_it_at_the_prompt_and_in_a_reply(sit: Sit, stack: FakeStack, message: str) -> None:
    reply = stack.enqueue("Hello", Hold())
    person = sit()
    if message:
        person.says(message)
        person.sees("Hello")
    else:
        person.types("")
    person.process.send_signal(signal.SIGTERM)
    assert person.ended() == 143
    assert not message or reply.ended.wait(SECONDS)


def test_a_message_without_an_answer_is_sent_with_the_next(sit: Sit, stack: FakeStack) -> None:
    stack.enqueue(status=500, body={"error": {"message": "Out of memory"}})
    person = sit()
    person.says("One")
    person.sees("Out of memory")
    person.says("Two")
    person.sees("Assistant> Hello there.")
    assert person.leaves() == 0
    assert sent(stack)[1] == [SYSTEM, ("user", "One\n\nTwo")]


def test_a_reply_that_was_cut_off_is_kept(sit: Sit, stack: FakeStack) -> None:
    hold = Hold()
    stack.enqueue("Once upon", hold, Break())
    person = sit()
    person.says("One")
    person.sees("Once upon")
    hold.release.set()
    person.says("Two")
    person.sees("Assistant> Hello there.")
    assert person.leaves() == 0
    assert [role for role, _ in sent(stack)[1]] == ["system", "user", "assistant", "user"]


def test_no_server_is_told_and_the_conversation_goes_on_with_the_next(sit: Sit, stack: FakeStack) -> None:
    stack.stop()
    person = sit()
    person.sees(f"No server answers at {stack.url}.")
    person.types("")
    with FakeStack(port=stack.port):
        person.terminal.send("hi\r")
        person.sees("Assistant> Hello there.")
        assert person.leaves() == 0


def test_thoughts_are_dim_and_come_before_the_answer(sit: Sit, stack: FakeStack) -> None:
    stack.enqueue("<think>A greeting.</think>", "Hello.")
    person = sit(NO_COLOR="")
    person.says("hi")
    person.reads(r"\x1b\[2mA greeting\.\x1b\[0m\r\n\x1b\[36mAssistant> ")
    person.sees("Hello.")
    assert person.leaves() == 0


def test_a_notice_is_given_once(sit: Sit, stack: FakeStack) -> None:
    person = sit("--model", "llama")
    for _ in range(3):
        person.says("hi")
        person.sees("Assistant> Hello there.")
    assert person.leaves() == 0
    assert person.shown.count("This server's name for the model llama is fake/llama.") == 1


def test_with_stdout_redirected_the_prompt_is_on_the_terminal(sit: Sit, stack: FakeStack, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m llama_ui --base-url {stack.url} > replies.txt"
    person = Person(["/bin/sh", "-c", command], tmp_path)
    person.says("hi")
    person.sees("tokens in")
    assert person.leaves() == 0
    assert (tmp_path / "replies.txt").read_text() == "Hello there.\n"
    assert "Hello there" not in person.shown


def test_a_paste_of_several_lines_is_one_message(sit: Sit, stack: FakeStack) -> None:
    person = sit()
    person.types("\x1b[200~/usr/bin/x:\n  fails\x1b[201~\r")
    person.sees("Assistant> Hello there.")
    assert person.leaves() == 0
    assert sent(stack)[0][-1] == ("user", "/usr/bin/x:\n  fails")


def test_a_paste_that_begins_with_a_command_is_a_message(sit: Sit, stack: FakeStack) -> None:
    person = sit()
    person.types("\x1b[200~/clear\n/model x\x1b[201~\r")
    person.sees("Assistant> Hello there.")
    assert person.leaves() == 0
    assert sent(stack)[0][-1] == ("user", "/clear\n/model x")


def test_a_command_with_something_behind_it_that_it_cannot_take_is_not_done(sit: Sit, stack: FakeStack) -> None:
    person = sit()
    person.says("One")
    person.sees("Assistant> ")
    person.says("/clear the table, please")
    person.sees("/clear takes nothing after it.")
    person.says("Two")
    person.sees("Assistant> ")
    assert person.leaves() == 0
    assert len(sent(stack)[1]) == 4


def test_a_server_that_lists_no_model_is_asked_with_any(sit: Sit, stack: FakeStack) -> None:
    stack.models = []
    person = sit()
    person.sees("The server lists no chat model.")
    person.says("/model its/own")
    person.sees("Model: its/own")
    person.says("/models")
    person.sees("The server lists no chat model.")
    person.says("hi")
    person.sees("The server has no model its/own.")
    assert person.leaves() == 0
    assert stack.requests[-1]["model"] == "its/own"


def test_what_was_typed_is_remembered_for_the_next_time(sit: Sit, stack: FakeStack, tmp_path: Path) -> None:
    person = sit()
    person.says("Tell me a joke")
    assert person.leaves() == 0
    history = next((tmp_path / "state").rglob("history"))
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    person = sit()
    person.says(UP + UP)
    person.sees("Assistant> Hello there.")
    assert person.leaves() == 0
    assert sent(stack)[1][-1] == ("user", "Tell me a joke")


def test_where_nothing_can_be_remembered_it_works_all_the_same(sit: Sit, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    person = sit(XDG_STATE_HOME=str(tmp_path / "file"))
    person.says("hi")
    person.sees("Assistant> Hello there.")
    assert person.leaves() == 0


# The commands


def test_help_names_each_command(sit: Sit) -> None:
    person = sit()
    person.says("/help")
    for command in ("/system", "/model", "/models", "/clear", "/save", "/code", "/help"):
        person.sees(command)
    assert person.leaves() == 0


def test_an_unknown_command_is_told_and_not_sent(sit: Sit, stack: FakeStack) -> None:
    person = sit()
    person.says("/modles x")
    person.sees("There is no command /modles. /help lists them.")
    assert person.leaves() == 0
    assert stack.requests == []


def test_a_message_that_begins_with_a_slash_is_typed_with_two(sit: Sit, stack: FakeStack) -> None:
    person = sit()
    person.says("//help me")
    person.sees("Assistant> Hello there.")
    assert person.leaves() == 0
    assert sent(stack)[0][-1] == ("user", "/help me")


def test_the_system_prompt_is_shown_set_and_taken_away(sit: Sit, stack: FakeStack) -> None:
    person = sit()
    person.says("/system")
    person.sees("System prompt: You are a friendly assistant.")
    person.says("/system Answer in `French`.")
    person.sees("System prompt: Answer in `French`.")
    person.says("hi")
    person.sees("Assistant> ")
    person.says("/system -")
    person.sees("There is no system prompt.")
    person.says("hi")
    person.sees("Assistant> ")
    assert person.leaves() == 0
    assert sent(stack)[0][0] == ("system", "Answer in `French`.")
    assert [role for role, _ in sent(stack)[1]] == ["user", "assistant", "user"]


def test_a_system_prompt_that_is_too_long_is_not_taken(sit: Sit, stack: FakeStack) -> None:
    person = sit("--max-message-chars", "30")
    person.says("/system " + "x" * 31)
    person.sees("The system prompt has 31 characters; at most 30 are sent.")
    person.says("hi")
    person.sees("Assistant> ")
    assert person.leaves() == 0
    assert sent(stack)[0][0] == SYSTEM


def more_models(stack: FakeStack) -> None:
    stack.models += [stack.models[0] | {"id": "other/llama-large"}]


def test_models_are_listed_and_chosen(sit: Sit, stack: FakeStack) -> None:
    more_models(stack)
    person = sit()
    person.says("/models")
    person.sees(f"* {MODEL}")
    person.sees("  other/llama-large")
    person.says("/model llama-large")
    person.sees("Model: other/llama-large")
    person.says("/models")
    person.sees("* other/llama-large")
    person.says("hi")
    person.sees("Assistant> ")
    person.says("/model")
    person.sees("Model: other/llama-large")
    assert person.leaves() == 0
    assert [body["model"] for body in stack.requests] == ["other/llama-large"]
    assert "fake/embed" not in person.shown


def test_a_model_that_is_not_listed_is_not_chosen(sit: Sit, stack: FakeStack) -> None:
    person = sit()
    person.says("/model fake/lama")
    person.sees("The server has no model fake/lama. The closest that it has is fake/llama")
    person.says("hi")
    person.sees("Assistant> ")
    assert person.leaves() == 0
    assert stack.requests[0]["model"] == MODEL


def test_tab_completes_commands_and_models(sit: Sit, stack: FakeStack) -> None:
    more_models(stack)
    person = sit()
    person.types("/mode\t")  # both commands begin so
    person.terminal.send(" oth\t\r")
    person.sees("Model: other/llama-large")
    assert person.leaves() == 0


def test_a_cleared_conversation_begins_anew(sit: Sit, stack: FakeStack) -> None:
    person = sit()
    person.says("One")
    person.sees("Assistant> ")
    person.says("/clear")
    person.sees("forgotten")
    person.says("Two")
    person.sees("Assistant> ")
    assert person.leaves() == 0
    assert sent(stack)[1] == [SYSTEM, ("user", "Two")]


def test_the_code_of_the_last_request_is_printed(sit: Sit, stack: FakeStack) -> None:
    person = sit()
    person.says("/code")
    person.sees("Nothing was sent yet.")
    person.says("Tell me a joke")
    person.sees("Assistant> ")
    person.says("/code")
    person.sees("from llama_stack_client import LlamaStackClient")
    person.sees(stack.url)
    person.sees(f'model="{MODEL}"')
    person.sees("Tell me a joke")
    assert person.leaves() == 0


def test_the_code_of_a_reply_that_was_stopped_before_it_began_is_printed(sit: Sit, stack: FakeStack) -> None:
    hold = Hold()
    stack.enqueue(hold, "Never")
    person = sit()
    person.says("Tell me a joke")
    assert hold.reached.wait(SECONDS)
    person.stops()
    person.sees("Stopped.")
    person.says("/code")
    person.sees('"Tell me a joke"')
    assert person.leaves() == 0


@pytest.mark.parametrize("name", ["talk.json", "talk.md", "my talk"])
def test_a_conversation_is_saved_and_no_file_replaced(sit: Sit, tmp_path: Path, name: str) -> None:
    pytest.importorskip("llama_ui.workbench.export")
    person = sit()
    person.says(f"/save {name}")
    person.sees("There is no conversation yet.")
    person.says("Tell me a joke")
    person.sees("Assistant> ")
    person.says(f"/save {name}")
    person.sees(f"Saved as {name}")
    person.says(f"/save {name}")
    person.sees("exists already")
    assert person.leaves() == 0
    text = (tmp_path / name).read_text()
    assert all(part in text for part in ("Tell me a joke", "Hello there.", SYSTEM[1], MODEL))
    assert not name.endswith("json") or json.loads(text)


@pytest.mark.parametrize(("name", "told"), [("", "name is missing"), ("no/such/folder", "cannot be written")])
def test_a_file_that_cannot_be_written_is_told(sit: Sit, name: str, told: str) -> None:
    pytest.importorskip("llama_ui.workbench.export")
    person = sit()
    person.says("hi")
    person.sees("Assistant> ")
    person.says(f"/save {name}")
    person.sees(told)
    assert person.leaves() == 0


# With the real local stack


@pytest.mark.real_stack
@pytest.mark.timeout(500)
def test_a_person_chats_with_the_real_local_stack(tmp_path: Path) -> None:
    person = Person([sys.executable, "-m", "llama_ui"], tmp_path)
    person.sees("tiny demonstration model")
    children = psutil.Process(person.process.pid).children(recursive=True)
    assert children
    person.says("hi")
    person.reads(r"Assistant> .*?\w")
    # Nobody knows how much it says, on a machine that may have much else to do; 1024 tokens at the most.
    person.reads(r"\d tokens in, [\d,]+ out · ", 400)
    person.says("/models")
    person.sees("* local/SmolLM2-135M-Instruct")
    assert person.leaves() == 0
    assert not psutil.wait_procs(children, timeout=SECONDS)[1]


@pytest.mark.real_stack
def test_a_reply_of_the_real_local_stack_can_be_stopped(tmp_path: Path) -> None:
    person = Person([sys.executable, "-m", "llama_ui"], tmp_path)
    person.says("Write a story of a thousand words about a llama.")
    person.reads(r"Assistant> .*?\w")
    person.stops()
    assert person.leaves() == 0


@pytest.mark.real_stack
@pytest.mark.timeout(500)
def test_a_pipe_gets_a_reply_of_the_real_local_stack_alone(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "llama_ui"],
        cwd=tmp_path,
        env=variables(tmp_path),
        input=b"hi\n",
        capture_output=True,
        timeout=400,  # as above,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert re.search(rb"\w", ended.stdout) and ended.stdout.endswith(b"\n")


@pytest.mark.real_stack
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_the_real_local_stack_ends_with_the_terminal_also_while_it_starts(tmp_path: Path, end: int) -> None:
    for awaited in ("Starting the OGX server", "User>"):
        person = Person([sys.executable, "-m", "llama_ui"], tmp_path)
        person.sees(awaited)
        children = psutil.Process(person.process.pid).children(recursive=True)
        assert children
        if end == signal.SIGINT and awaited == "User>":
            person.terminal.send(CTRL_D)
        else:
            person.process.send_signal(end)
        person.ended()
        assert not psutil.wait_procs(children, timeout=SECONDS)[1]


# Without a process


@pytest.mark.filterwarnings("error")
async def test_what_nobody_foresaw_is_told_in_a_sentence() -> None:
    async def fail() -> None:
        raise ZeroDivisionError("secret")

    with pytest.raises(ChatError, match=r"^Something went wrong in this program \(ZeroDivisionError\)\. Try again\.$"):
        await repl._stoppable(fail())


class Tty(io.StringIO):
    """One of the streams of a terminal, whose text they share."""

    def __init__(self, screen: io.StringIO) -> None:
        super().__init__()
        self._screen = screen

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return self._screen.write(text)


def test_however_a_reply_grows_a_terminal_shows_the_same() -> None:
    thought, text = "First I think.\nThen more.", "Hello\nworld,\n\n  twice. \x1b[2J"
    shown = set()
    for cut in range(len(text) + 1):
        both = io.StringIO()
        screen = Output(Tty(both), Tty(both), {"NO_COLOR": "1"}, "Assistant> ")
        screen.status("Waiting…")
        for turn in (Reply(reasoning=thought[:cut]), Reply(reasoning=thought), Reply(text[:cut], thought)):
            screen.show(turn)
        screen.end(Reply(text, thought))
        lines = both.getvalue().split("\n")
        shown.add("\n".join(line.rpartition("\r")[2] for line in lines if line.strip()))
    assert len(shown) == 1, shown


def test_thoughts_between_the_parts_of_an_answer_begin_a_line() -> None:
    both = io.StringIO()
    screen = Output(Tty(both), Tty(both), {"NO_COLOR": "1"}, "Assistant> ")
    for turn in itertools.starmap(Reply, [("Hello", ""), ("Hello", "Hm."), ("Hello there", "Hm.")]):
        screen.show(turn)
    screen.end(Reply("Hello there", "Hm."))
    assert both.getvalue() == "Assistant> Hello\nHm.\nAssistant>  there\n"


def test_into_a_pipe_an_answer_with_thoughts_between_goes_as_it_is() -> None:
    out, err = io.StringIO(), io.StringIO()
    screen = Output(out, Tty(err), {"NO_COLOR": "1"}, "Assistant> ")
    for turn in itertools.starmap(Reply, [("Hello", ""), ("Hello", "Hm."), ("Hello there", "Hm.")]):
        screen.show(turn)
    screen.end(Reply("Hello there", "Hm."))
    assert (out.getvalue(), err.getvalue()) == ("Hello there\n", "Hm.\n")
