"""The same user messages answered twice, with other settings or by another model, and what differs."""

import asyncio
import difflib
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from llama_ui.core.conversation import Reply
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reply import TICK_SECONDS, next_frame_delay

type Ask = Callable[[str, Sequence[Message], SamplingOptions], AsyncGenerator[Reply, None]]
# Words of one reply times those of the other, above which lines are compared, not words: a second of work, or less.
MOST_COMPARED = 4_000_000


@dataclass
class Variant:
    """One way to answer, and the turns that have come of it by now, one for each user message."""

    model: str
    system_prompt: str
    options: SamplingOptions
    turns: list[Reply] = field(default_factory=list)


async def replay(ask: Ask, sides: Sequence[Variant], said: Sequence[Message]) -> AsyncGenerator[None, None]:
    """Answers the user's messages on all sides at once, each in a conversation of its own; yields when there is news.

    A side whose reply fails ends with it. Closing this generator closes the requests to the server.
    """
    news = asyncio.Event()
    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(_answer(ask, side, said, news)) for side in sides]
    try:
        while not all(task.done() for task in tasks):
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await news.wait()
            except TimeoutError:
                pass
            news.clear()
            handed = loop.time()
            yield
            length = sum(len(turn.text) for side in sides for turn in side.turns)
            await asyncio.sleep(next_frame_delay(loop.time() - handed, length))
        for task in tasks:
            task.result()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _answer(ask: Ask, side: Variant, said: Sequence[Message], news: asyncio.Event) -> None:
    conversation = [Message("system", side.system_prompt)] if side.system_prompt.strip() else []
    try:
        for message in said:
            conversation.append(message)
            side.turns.append(Reply(waited=0.0))
            async with aclosing(ask(side.model, conversation, side.options)) as turns:
                async for turn in turns:
                    side.turns[-1] = turn
                    news.set()
            if not side.turns[-1].text.strip() or side.turns[-1].error:
                return
            conversation.append(Message("assistant", side.turns[-1].text))
    finally:
        news.set()


def diff_words(old: str, new: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Both texts in pieces, each with whether the other text lacks it."""
    first, second = _words(old), _words(new)
    if long := len(first) * len(second) > MOST_COMPARED:
        first, second = old.splitlines(keepends=True), new.splitlines(keepends=True)
    before: list[tuple[str, bool]] = []
    after: list[tuple[str, bool]] = []
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=long)
    for what, i, j, k, m in matcher.get_opcodes():
        before.append(("".join(first[i:j]), what != "equal"))
        after.append(("".join(second[k:m]), what != "equal"))
    return [piece for piece in before if piece[0]], [piece for piece in after if piece[0]]


def _words(text: str) -> list[str]:
    """Words with the space behind them, so that a change of several is one piece."""
    return re.findall(r"\w+\s*|[^\w\s]+\s*|\s+", text)
