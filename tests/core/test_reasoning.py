"""Reasoning and answer in one text, split however it is cut into deltas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core.reasoning import split_reasoning

REPLIES: dict[str, tuple[str, str, str]] = {
    "reasoning and an answer": ("<think>Hm.</think>Hello.", "Hm.", "Hello."),
    "on lines of their own": ("<think>\nHm.\n\nSo.\n</think>\n\nHello.\n", "Hm.\n\nSo.", "Hello.\n"),
    "blank lines in front": ("\n\n<think>Hm.</think>Hello.", "Hm.", "Hello."),
    "an answer that begins with indentation": ("<think>Hm.</think>\n\n    x = 1", "Hm.", "    x = 1"),
    "empty reasoning": ("<think>\n\n</think>\n\nHello.", "", "Hello."),
    "two parts": ("<think>One.</think>A, <think>two.</think>B.", "One.\n\ntwo.", "A, B."),
    "opened by the chat template": ("Hm.\nSo.\n</think>\n\nHello.", "Hm.\nSo.", "Hello."),
    "never closed": ("<think>Hm, and", "Hm, and", ""),
    "no reasoning": ("Hello.", "", "Hello."),
    "other tags": ("<thin>a</thin> < <b", "", "<thin>a</thin> < <b"),
    "code with a tag in a line": ("Write `<think>` and `</think>`.", "", "Write `<think>` and `</think>`."),
    "reasoning with code, and code with a tag": ("<think>`x`</think>`<think>`", "`x`", "`<think>`"),
    "a tag that the answer is about": ("The tag <think> begins it.", "", "The tag <think> begins it."),
    "a closing tag that the answer is about": ("It ends with </think> there.", "", "It ends with </think> there."),
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_reasoning_and_answer_are_split_and_no_part_of_a_tag_is_shown_while_they_arrive(
    reply: tuple[str, str, str],
) -> None:
    text, *parts = reply
    assert split_reasoning(text) == tuple(parts)
    for end in range(len(text)):
        reasoning, answer = split_reasoning(text[:end], ended=False)
        assert not reasoning.endswith(("</think", "</thin", "</thi", "</th", "</t", "</", "<"))
        assert answer.strip() not in ("<think", "<thin", "<thi", "<th", "<t", "<")


def test_in_an_answer_nothing_is_held_back() -> None:
    assert split_reasoning("if a <", ended=False) == ("", "if a <")
    assert split_reasoning("<think>Hm.</think>if a <", ended=False) == ("Hm.", "if a <")


@given(st.text(alphabet="<>/think` \nab", max_size=60))
def test_no_letter_is_lost(text: str) -> None:
    reasoning, answer = split_reasoning(text)
    for letter in "ab":  # which no tag has
        assert (reasoning + answer).count(letter) == text.count(letter)
