"""The same user messages answered again, with other settings or by another model, and how the answers differ."""

import asyncio
import difflib
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from llama_ui.core.conversation import ChatSettings, Conversation, Reply, Turn
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reply import next_frame_delay

type Respond = Callable[[str, Sequence[Message], SamplingOptions], AsyncGenerator[Reply, None]]
# The words of one answer times those of the other, above which lines are compared: a second of work, or less.
MAX_WORD_PAIRS = 4_000_000
_WORD = re.compile(r"\w+\s*|[^\w\s]+\s*|\s+")  # with the space behind it, so that a change of several is one piece


@dataclass
class Variant:
    """One way to answer the messages, and the turns that have come of it so far."""

    name: str
    settings: ChatSettings
    turns: list[Turn] = field(default_factory=list)


async def replay(
    respond: Respond, variants: Sequence[Variant], questions: Sequence[Turn]
) -> AsyncGenerator[None, None]:
    """Answers the messages in all variants at once, until a reply fails in each; yields when there is news."""
    news = asyncio.Event()
    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(_answer(respond, variant, questions, news)) for variant in variants]
    try:
        while not all(task.done() for task in tasks):
            await news.wait()  # there is some at least every `TICK_SECONDS`
            news.clear()
            start = loop.time()
            yield
            length = sum(len(turn.reply.text) for variant in variants for turn in variant.turns if turn.reply)
            await asyncio.sleep(next_frame_delay(loop.time() - start, length))
        for task in tasks:
            task.result()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _answer(respond: Respond, variant: Variant, questions: Sequence[Turn], news: asyncio.Event) -> None:
    settings = variant.settings
    try:
        for question in questions:
            reply = Reply(waited=0.0)
            variant.turns.append(replace(question, replies=(reply,)))
            messages = Conversation(settings.system_prompt, tuple(variant.turns)).messages()
            async with aclosing(respond(settings.model, messages, settings.options)) as replies:
                async for reply in replies:
                    variant.turns[-1] = replace(question, replies=(reply,))
                    news.set()
            if not reply.text.strip() or reply.error:
                return
    finally:
        news.set()


def diff_words(old: str, new: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Both texts in pieces, each with whether the other text lacks it."""
    first, second = _WORD.findall(old), _WORD.findall(new)
    if is_long := len(first) * len(second) > MAX_WORD_PAIRS:
        first, second = old.splitlines(keepends=True), new.splitlines(keepends=True)
    opcodes = difflib.SequenceMatcher(None, first, second, autojunk=is_long).get_opcodes()
    before = [("".join(first[i:j]), kind != "equal") for kind, i, j, _, _ in opcodes if i < j]
    after = [("".join(second[i:j]), kind != "equal") for kind, _, _, i, j in opcodes if i < j]
    return before, after
