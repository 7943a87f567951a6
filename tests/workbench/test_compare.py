"""The same messages answered twice, and where the answers differ."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core.conversation import ChatSettings, Conversation, Reply, Turn
from llama_ui.core.errors import Unreachable
from llama_ui.core.events import Event, Finished, RequestSent, Text, Usage
from llama_ui.core.messages import Image, Message, SamplingOptions
from llama_ui.core.reply import respond
from llama_ui.core.stats import Stats
from llama_ui.web.html import comparison
from llama_ui.web.tab_handlers import before
from llama_ui.workbench.compare import MAX_WORD_PAIRS, Variant, diff_words, replay

LOST = Unreachable("The connection was lost.", "Try again.")
QUESTIONS = [Turn("One?"), Turn("Two?")]
ONE, TWO = Message("user", "One?"), Message("user", "Two?")


class Stack:
    """Answers each message with "<model> answers <message>"; before it, awaits its gate."""

    def __init__(self, *failing: str) -> None:
        self.requests: list[tuple[str, list[Message], SamplingOptions]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.closed: list[str] = []
        self.failing = failing

    async def stream(
        self, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Event, None]:
        self.requests.append((model, list(messages), options))
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


def variant(model: str, system_prompt: str = "", *replies: Reply) -> Variant:
    turns = [Turn("One?", replies=(reply,)) for reply in replies]
    return Variant(model, ChatSettings(system_prompt, model, SamplingOptions(seed=1)), turns)


def replies(variant: Variant) -> list[Reply]:
    return [turn.reply for turn in variant.turns if turn.reply]


async def answer(stack: Stack, *variants: Variant) -> None:
    async with aclosing(replay(partial(respond, stack.stream), variants, QUESTIONS)) as news:
        async for _ in news:
            pass


async def test_each_variant_has_a_conversation_with_its_own_replies() -> None:
    stack = Stack()
    variants = variant("a", "Be brief."), variant("b")
    await answer(stack, *variants)
    assert [reply.text for reply in replies(variants[0])] == ["a answers One?", "a answers Two?"]
    last = {model: messages for model, messages, _ in stack.requests}
    assert last["a"] == [Message("system", "Be brief."), ONE, Message("assistant", "a answers One?"), TWO]
    assert last["b"] == [ONE, Message("assistant", "b answers One?"), TWO]
    assert all(options == SamplingOptions(seed=1) for _, _, options in stack.requests)


async def test_a_variant_that_fails_ends_and_the_other_goes_on() -> None:
    stack = Stack("a")
    variants = variant("a"), variant("b")
    await answer(stack, *variants)
    assert [(reply.text, reply.error) for reply in replies(variants[0])] == [("a answers ", LOST)]
    assert len(variants[1].turns) == 2 and not replies(variants[1])[1].error


async def test_a_slow_variant_does_not_delay_the_other_and_leaving_closes_its_request() -> None:
    stack = Stack()
    stack.gates = {"a": asyncio.Event()}
    variants = variant("a"), variant("b")
    async with aclosing(replay(partial(respond, stack.stream), variants, QUESTIONS)) as news:
        async for _ in news:
            if len(variants[1].turns) == 2 and replies(variants[1])[1].ended:
                break
    assert replies(variants[0])[0].text == ""
    assert "Waiting" in comparison(QUESTIONS, variants[:1])
    assert stack.closed == ["b", "b", "a"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@given(st.text(alphabet="ab \n.<", max_size=40), st.text(alphabet="ab \n.<", max_size=40))
def test_unmarked_pieces_are_the_same_in_both_texts(old: str, new: str) -> None:
    before, after = diff_words(old, new)
    assert ("".join(text for text, _ in before), "".join(text for text, _ in after)) == (old, new)
    same = ["".join(text for text, lacks in pieces if not lacks) for pieces in (before, after)]
    assert same[0] == same[1]


def test_very_long_answers_are_compared_by_lines() -> None:
    lines = "".join(f"{number} llamas\n" for number in range(MAX_WORD_PAIRS // 1000))
    _, after = diff_words(lines, lines + "and one more")
    assert [text for text, lacks in after if lacks][-1] == "and one more"


def reply(text: str, request: ChatSettings | None = None) -> Reply:
    return Reply(text, stats=Stats(0, 0.5, 1.0, 7, 11, False, "stop"), ended=True, request=request)


def test_the_conversation_as_it_was_has_its_own_model_prompt_replies_and_numbers() -> None:
    failed = Turn("One?", replies=(Reply(error=LOST, ended=True),))
    answered = Turn("Really?", replies=(reply("Yes.", ChatSettings("Be brief.", "m")),))
    column = before(Conversation("The current prompt.", (failed, answered, Turn("Two?"))))
    assert (column.name, column.settings.system_prompt) == ("Before: m", "Be brief.")
    assert [turn.text for turn in column.turns] == ["One?\n\nReally?", "Two?"]
    table = comparison(column.turns, [column])
    assert "Yes." in table and "0.50 s to first token" in table and "No reply." in table


@pytest.mark.parametrize("hostile", ["<img src=x onerror=alert(1)>", "</div><script>", '" onload="'])
def test_no_text_becomes_html(hostile: str) -> None:
    one = variant(hostile, hostile, reply(hostile))
    other = variant("b", "", reply("Hello"), Reply(error=Unreachable(hostile, hostile)))
    html = comparison([Turn(hostile, (Image("image/png", "AA"),))] * 2, [one, other], mark_differences=True)
    assert set(re.findall(r"<(\w+)", html)) <= {"div", "header", "small", "del", "ins"}
    assert "onload=" not in re.sub(r"&#34;.*?&#34;", "", html)


def test_words_that_differ_are_marked_side_by_side() -> None:
    columns = [variant(name, "", reply(f"A {name} llama")) for name in ("big", "small")]
    html = comparison(QUESTIONS[:1], columns, mark_differences=True)
    assert "<del>big </del>" in html and "<ins>small </ins>" in html
    assert html.index("<del>") < html.index("<ins>")
