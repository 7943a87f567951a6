"""Thought and answer in one text, told apart however it comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core.conversation import Reply
from llama_ui.core.events import Event, Finished, Text
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reasoning import split_reasoning
from llama_ui.core.reply import respond

REPLIES: dict[str, tuple[str, str, str]] = {
    "a thought and an answer": ("<think>Hm.</think>Hello.", "Hm.", "Hello."),
    "on lines of their own": ("<think>\nHm.\n\nSo.\n</think>\n\nHello.\n", "Hm.\n\nSo.", "Hello.\n"),
    "blank lines in front": ("\n\n<think>Hm.</think>Hello.", "Hm.", "Hello."),
    "an answer that begins with indentation": ("<think>Hm.</think>\n\n    x = 1", "Hm.", "    x = 1"),
    "an empty thought": ("<think>\n\n</think>\n\nHello.", "", "Hello."),
    "two thoughts": ("<think>One.</think>A, <think>two.</think>B.", "One.\n\ntwo.", "A, B."),
    "a thought after the answer's first words": ("Well. <think>Hm.</think>Hello.", "Hm.", "Well. Hello."),
    "a thought that the chat template opened": ("Hm.\nSo.\n</think>\n\nHello.", "Hm.\nSo.", "Hello."),
    "a thought that does not end": ("<think>Hm, and", "Hm, and", ""),
    "no thought": ("Hello.", "", "Hello."),
    "other tags": ("<thin>a</thin> < <b", "", "<thin>a</thin> < <b"),
    "code with a tag in a line": ("Write `<think>` and `</think>`.", "", "Write `<think>` and `</think>`."),
    "code with a tag in a block": ("```\n<think>\nx\n</think>\n```\n", "", "```\n<think>\nx\n</think>\n```\n"),
    "a thought with code, and code with a tag": ("<think>`x`</think>`<think>`", "`x`", "`<think>`"),
    "a tag that is talked about": ("The tag <think> begins it.", "", "The tag <think> begins it."),
    "the end of a thought that is talked about": ("It ends with </think> there.", "", "It ends with </think> there."),
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_thought_and_answer_are_told_apart(reply: tuple[str, str, str]) -> None:
    text, thought, answer = reply
    assert split_reasoning(text) == (thought, answer)


class Pieces:
    """A server that sends these pieces of a text."""

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = pieces

    async def stream(self, model: str, messages: object, options: SamplingOptions):  # type: ignore[no-untyped-def] # short
        for piece in self._pieces:
            event: Event = Text(piece)
            yield event
        yield Finished("stop")


@given(reply=st.sampled_from(list(REPLIES.values())), data=st.data())
async def test_however_a_reply_is_cut_into_chunks_thought_and_answer_come_out_the_same(
    reply: tuple[str, str, str], data: st.DataObject
) -> None:
    text, thought, answer = reply
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    turns: list[Reply] = [
        turn async for turn in respond(Pieces(pieces).stream, "m", [Message("user", "?")], SamplingOptions())
    ]
    assert (turns[-1].reasoning, turns[-1].text) == (thought, answer)
    assert not turns[-1].thinking


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_while_a_reply_comes_no_piece_of_a_tag_is_shown_before_or_in_a_thought(reply: tuple[str, str, str]) -> None:
    text, _, _ = reply
    for end in range(len(text)):
        thought, answer = split_reasoning(text[:end], ended=False)
        assert not thought.endswith(("</think", "</thin", "</thi", "</th", "</t", "</", "<"))
        assert answer.strip() not in ("<think", "<thin", "<thi", "<th", "<t", "<")


def test_in_an_answer_nothing_is_kept_back() -> None:
    assert split_reasoning("if a <", ended=False) == ("", "if a <")
    assert split_reasoning("<think>Hm.</think>if a <", ended=False) == ("Hm.", "if a <")


@given(st.text(alphabet="<>/think` \nab", max_size=60))
def test_whatever_a_model_writes_no_letter_is_lost(text: str) -> None:
    thought, answer = split_reasoning(text)
    for letter in "ab":  # which no tag has
        assert (thought + answer).count(letter) == text.count(letter)
