"""What a terminal or a pipe shows of a reply as it grows."""

import io
import re

import pytest

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import ChatError
from llama_ui.terminal.output import Output
from tests.terminal.conftest import Screen, Tty

HOSTILE = "\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x1b\\\x9b2J\x9d0;owned\x9c\x1b[2J\x08\x7f\x00"
INTERLEAVED = [Reply("Hello"), Reply("Hello", "Hm."), Reply("Hello there", "Hm.")]


def tty_output(screen: Screen, **environ: str) -> Output:
    return Output(Tty(screen), Tty(screen), environ, "Assistant> ")


def print_all(output: Output, *replies: Reply) -> None:
    for reply in replies:
        output.print_reply(reply)
    output.finish_reply(replies[-1])


def test_a_terminal_shows_the_same_however_a_reply_grows() -> None:
    reasoning, text = "First I think.\nThen more.", "Hello\nworld,\n\n  twice. \x1b[2J"
    results = set()
    for cut in range(len(text) + 1):
        screen = Screen()
        output = tty_output(screen, NO_COLOR="1")
        output.show_progress("Waiting…")
        partial = [Reply("", reasoning[:cut]), Reply("", reasoning), Reply(text[:cut], reasoning)]
        print_all(output, *partial, Reply(text, reasoning))
        results.add("\n".join(line.rpartition("\r")[2] for line in screen.text.split("\n") if line.strip()))
    assert len(results) == 1, results


def test_reasoning_between_the_parts_of_an_answer_starts_a_line() -> None:
    screen = Screen()
    print_all(tty_output(screen, NO_COLOR="1"), *INTERLEAVED)
    assert screen.text == "Assistant> Hello\nHm.\nAssistant>  there\n"


@pytest.mark.parametrize(
    ("replies", "out", "err"),
    [
        ([Reply("Hello\n")], "Hello\n", ""),
        (INTERLEAVED, "Hello there\n", "Hm."),
        ([Reply("A greeting."), Reply("Hello.", "A greeting.")], "A greeting.\nHello.\n", "A greeting."),
    ],
    ids=["ends its line", "reasoning in between", "turns out to be reasoning"],
)
def test_a_pipe_gets_the_answer_on_stdout(replies: list[Reply], out: str, err: str) -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    output = Output(stdout, stderr, {}, "Assistant> ")
    output.show_progress("Waiting…")
    print_all(output, *replies)
    assert (stdout.getvalue(), stderr.getvalue().rstrip("\n")) == (out, err)


def test_the_answer_is_cyan_and_the_reasoning_dim() -> None:
    screen = Screen()
    print_all(tty_output(screen), Reply("Hello", "A greeting."))
    assert screen.text == "\x1b[2mA greeting.\x1b[0m\n\x1b[36mAssistant> Hello\x1b[0m\n"


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_untrusted_text_cannot_control_the_terminal(environ: dict[str, str]) -> None:
    screen = Screen()
    output = tty_output(screen, **environ)
    output.show_progress(HOSTILE)
    print_all(output, Reply(f"{HOSTILE}Over.", HOSTILE))
    output.print_error(ChatError(HOSTILE, ""))
    assert screen.text.count("]52;c;b3duZWQ=") == 4, "printable characters stay"
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", screen.text)
