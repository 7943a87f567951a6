"""The same messages answered twice, and what is marked."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import Unreachable
from llama_ui.core.events import Event, Finished, RequestSent, Text, Usage
from llama_ui.core.messages import Image, Message, SamplingOptions
from llama_ui.core.reply import respond
from llama_ui.core.stats import Stats
from llama_ui.web import comparison
from llama_ui.web.view import ChatMessage, answer, error_note, message
from llama_ui.workbench.compare import MOST_COMPARED, Variant, diff_words, replay

LOST = Unreachable("The connection was lost.", "Try again.")
SAID = [Message("user", "One?"), Message("user", "Two?")]


class Stack:
    """Answers each message with "<model> answers <message>"; before it, awaits its gate."""

    def __init__(self, *failing: str) -> None:
        self.asked: list[tuple[str, list[Message], SamplingOptions]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.closed: list[str] = []
        self.failing = failing

    async def stream(
        self, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Event, None]:
        self.asked.append((model, list(messages), options))
        try:
            yield RequestSent(model)
            if gate := self.gates.get(model):
                await gate.wait()
            yield Text(f"{model} answers ")
            if model in self.failing:
                raise LOST
            yield Text(messages[-1].content)
            yield Usage(5, 3)
            yield Finished("stop")
        finally:
            self.closed.append(model)


def side(model: str, system_prompt: str = "") -> Variant:
    return Variant(model, system_prompt, SamplingOptions(seed=1))


async def answered(stack: Stack, *sides: Variant) -> None:
    async with aclosing(replay(partial(respond, stack.stream), sides, SAID)) as news:
        async for _ in news:
            pass


async def test_each_side_has_a_conversation_of_its_own_with_its_own_replies() -> None:
    stack = Stack()
    sides = side("a", "Be brief."), side("b")
    await answered(stack, *sides)
    assert [turn.text for turn in sides[0].turns] == ["a answers One?", "a answers Two?"]
    last = {model: messages for model, messages, _ in stack.asked}
    assert last["a"] == [Message("system", "Be brief."), SAID[0], Message("assistant", "a answers One?"), SAID[1]]
    assert last["b"] == [SAID[0], Message("assistant", "b answers One?"), SAID[1]]
    assert all(options == SamplingOptions(seed=1) for _, _, options in stack.asked)


async def test_both_sides_are_asked_at_once() -> None:
    stack = Stack()
    stack.gates = {"a": asyncio.Event(), "b": asyncio.Event()}
    async with aclosing(replay(partial(respond, stack.stream), [side("a"), side("b")], SAID)) as news:
        async for _ in news:
            if len(stack.asked) == 2:
                break
    assert [model for model, _, _ in stack.asked] == ["a", "b"]


async def test_a_side_that_fails_ends_with_what_came_and_the_other_goes_on() -> None:
    stack = Stack("a")
    sides = side("a"), side("b")
    await answered(stack, *sides)
    assert [(turn.text, turn.error) for turn in sides[0].turns] == [("a answers ", LOST)]
    assert len(sides[1].turns) == 2 and not sides[1].turns[1].error


async def test_whoever_leaves_ends_the_requests_of_both_sides() -> None:
    stack = Stack()
    stack.gates = {"a": asyncio.Event(), "b": asyncio.Event()}
    async with aclosing(replay(partial(respond, stack.stream), [side("a"), side("b")], SAID)) as news:
        async for _ in news:
            if len(stack.asked) == 2:
                break
    assert sorted(stack.closed) == ["a", "b"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_slow_side_holds_nothing_up() -> None:
    stack = Stack()
    stack.gates = {"a": asyncio.Event()}
    sides = side("a"), side("b")
    async with aclosing(replay(partial(respond, stack.stream), sides, SAID)) as news:
        async for _ in news:
            if len(sides[1].turns) == 2 and sides[1].turns[1].ended:
                break
    assert sides[0].turns[0].text == ""
    assert "Waiting" in comparison.table(SAID, [comparison.column(sides[0])])


@given(st.text(alphabet="ab \n.<", max_size=40), st.text(alphabet="ab \n.<", max_size=40))
def test_the_pieces_make_up_the_texts_and_what_is_unmarked_is_the_same_in_both(old: str, new: str) -> None:
    before, after = diff_words(old, new)
    assert ("".join(text for text, _ in before), "".join(text for text, _ in after)) == (old, new)
    same = ["".join(text for text, lacks in pieces if not lacks) for pieces in (before, after)]
    assert same[0] == same[1]


def test_words_that_differ_are_marked_and_no_others() -> None:
    before, after = diff_words("The moon hangs low.", "The moon hangs high.")
    assert [text for text, lacks in before if lacks] == ["low"]
    assert [text for text, lacks in after if lacks] == ["high"]


def test_very_long_replies_are_compared_by_their_lines() -> None:
    lines = "".join(f"{number} llamas\n" for number in range(MOST_COMPARED // 1000))
    _, after = diff_words(lines, lines + "and one more")
    assert [text for text, lacks in after if lacks][-1] == "and one more"


def turn(text: str) -> Reply:
    return Reply(text, model="m", stats=Stats(0, 0.5, 1.0, 7, 11, False, "stop"), ended=True)


def conversation() -> list[ChatMessage]:
    sent = {"system_prompt": "Be brief.", "model": "ignored"}
    return [
        message("user", "One?"),
        error_note(LOST),
        message("user", "Really?"),
        answer(turn("Yes."), sent),
        message("user", "Two?"),
    ]


def test_the_conversation_as_it_was_has_its_own_model_prompt_replies_and_numbers() -> None:
    column = comparison.before(conversation(), "The prompt of now.")
    assert (column.name, column.system_prompt) == ("Before: m", "Be brief.")
    assert [reply.text for reply in column.replies] == ["Yes.", ""]
    assert "0.50 s to first token" in column.replies[0].numbers
    assert column.replies[1].note


@pytest.mark.parametrize("hostile", ["<img src=x onerror=alert(1)>", "</div><script>", '" onload="'])
def test_nothing_that_was_said_becomes_html(hostile: str) -> None:
    one = Variant(hostile, hostile, SamplingOptions(), [turn(hostile)])
    other = Variant("b", "", SamplingOptions(), [turn("Hello"), Reply(error=Unreachable(hostile, hostile))])
    columns = [comparison.column(one), comparison.column(other)]
    shown = comparison.table([Message("user", hostile, (Image("image/png", "AA"),))] * 2, columns, diff_words)
    assert set(re.findall(r"<(\w+)", shown)) <= {"div", "header", "small", "del", "ins"}
    assert "onload=" not in re.sub(r"&quot;.*?&quot;", "", shown)


def test_replies_are_marked_side_by_side() -> None:
    sides = [Variant(name, "", SamplingOptions(), [turn(f"A {name} llama")]) for name in ("big", "small")]
    shown = comparison.table(SAID[:1], [comparison.column(side) for side in sides], diff_words)
    assert "<del>big </del>" in shown and "<ins>small </ins>" in shown
    assert shown.index("<del>") < shown.index("<ins>")
