"""A reply that goes on from a given text."""

import pytest

from llama_ui.core.conversation import Reply
from llama_ui.core.events import Token
from llama_ui.workbench.continuation import NEW_ANSWER, continued

PREFIX = "The capital is"


def tokens(*texts: str) -> tuple[Token, ...]:
    return tuple(Token(text, -0.5) for text in texts)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", PREFIX),
        ("The cap", PREFIX),
        (PREFIX, PREFIX),
        (f"{PREFIX} Paris", f"{PREFIX} Paris"),
        (" Paris", f"{PREFIX} Paris"),
        (", for now,", f"{PREFIX}, for now,"),
        ("land is", f"{PREFIX}land is"),
    ],
)
def test_a_prefix_stands_once_whether_it_is_repeated_or_not(text: str, whole: str) -> None:
    assert continued(Reply(text), PREFIX) == Reply(whole)


def test_the_tokens_of_the_prefix_are_left_out() -> None:
    repeated = tokens("The", " capital", " is")
    assert continued(Reply(f"{PREFIX} Paris", tokens=(*repeated, *tokens(" Paris"))), PREFIX).tokens == tokens(" Paris")
    assert continued(Reply(f"{PREFIX} Paris", tokens=tokens(" Paris")), PREFIX).tokens == tokens(" Paris")
    assert continued(Reply("The capital", tokens=repeated[:2]), PREFIX).tokens == ()
    assert continued(Reply(PREFIX, tokens=repeated), PREFIX).tokens == ()


@pytest.mark.parametrize(("text", "ended"), [("Paris is it.", False), ("The cap", True)])
def test_a_new_answer_stands_alone_with_a_notice(text: str, ended: bool) -> None:
    reply = Reply(text, tokens=tokens("Paris"), ended=ended)
    assert continued(reply, PREFIX) == Reply(text, tokens=tokens("Paris"), ended=ended, notices=(NEW_ANSWER,))


def test_a_reply_without_text_keeps_what_was_given() -> None:
    assert continued(Reply("", ended=True), PREFIX).text == PREFIX
