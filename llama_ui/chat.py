"""One turn of a conversation: the events of a reply become snapshots to show, no more of them than a page can take."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Protocol

from llama_ui.answers import content_filtered
from llama_ui.errors import ChatError, Refused
from llama_ui.events import Done, Event, InLine, Notice, Reasoning, Text, Usage
from llama_ui.messages import Message, Options
from llama_ui.thoughts import split

# Seconds between two updates of a page, at the least: more of them cost its browser more than they give to the reader.
FRAME = 0.05
# At the most: a page that shows nothing new for longer seems stuck.
LONGEST_FRAME = 0.3
# The part of the time that may go into updates, measured by how long the last one took to be absorbed. A long history
# or a full room thus gets fewer of them.
SHARE = 0.05
# Seconds for each character shown: the browser lays out the whole reply anew with each update.
PER_CHARACTER = 10e-6
# Seconds between two snapshots while nothing comes. Gradio notices a closed tab, and at times Stop, only at one.
TICK = 0.5


class Streams(Protocol):
    """What can be asked for a reply: a `LlamaStack`, or the connection to one that is still being made ready."""

    def stream(self, model: str, messages: Sequence[Message], options: Options) -> AsyncGenerator[Event, None]: ...


@dataclass(frozen=True, slots=True)
class Turn:
    """What there is of a reply by now. `waited`: seconds since it was asked for, None once something has come.

    `text`: the answer; `reasoning`: what the model thought, for `thought` seconds by now, and goes on to while it is
    `thinking`. `place`: the place in line, from 1, while there is no room for the request; else 0.
    `notices`: sentences in Markdown on how the request was sent; `ending`: one on how the reply ended, if not as usual.
    """

    text: str = ""
    reasoning: str = ""
    thinking: bool = False
    thought: float = 0.0
    waited: float | None = None
    place: int = 0
    usage: Usage | None = None
    finish_reason: str | None = None
    notices: tuple[str, ...] = ()
    ending: str = ""
    error: ChatError | None = None


class _Inbox:
    """What has come since the last snapshot. `news` is set when there is something to look at."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.error: ChatError | None = None
        self._events: list[Event] = []

    async def read(self, stream: AsyncGenerator[Event, None]) -> None:
        """Collects the events of a reply until it ends or fails."""
        try:
            async with aclosing(stream):
                async for event in stream:
                    self._events.append(event)
                    self.news.set()
        except ChatError as error:
            self.error = error

    def empty(self) -> list[Event]:
        events, self._events = self._events, []
        self.news.clear()
        return events


async def respond(
    stack: Streams, model: str, messages: Sequence[Message], options: Options
) -> AsyncGenerator[Turn, None]:
    """Snapshots of one reply: at once when it begins, then one a frame, the last with everything or with an error.

    While nothing comes, a snapshot every `TICK`; before the first text it counts the seconds. The stream is read by a
    task of its own: who shows the snapshots slowly gets fewer of them, not a backlog. Closing this generator, or
    cancelling the task that runs it, closes the request to the server, also before the first token.
    """
    inbox = _Inbox()
    loop = asyncio.get_running_loop()
    reply = _Reply(loop.time())
    reader = asyncio.create_task(inbox.read(stack.stream(model, messages, options)))
    reader.add_done_callback(lambda _: inbox.news.set())
    try:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await inbox.news.wait()
            ended = reader.done()
            events = inbox.empty()
            reply.take(events)
            turn = reply.turn(loop.time(), ended)
            if ended:
                if reader.exception():
                    yield turn
                    reader.result()  # what nobody foresaw goes to the caller
                yield _ended(turn, inbox.error)
                return
            handed = loop.time()
            yield turn
            # Two more turns of the loop, in which it is sent and all others have theirs: a full room costs, too.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if events:
                await asyncio.sleep(_frame(loop.time() - handed, len(turn.text) + len(turn.reasoning)))
    finally:
        reader.cancel()
        # Not gather, which would hand on a second cancel (a double click on Stop) into the closing of the request.
        await asyncio.wait([reader])


def _frame(cost: float, length: int) -> float:
    """The seconds until the next update, after one that took `cost` seconds and showed `length` characters."""
    return min(max(FRAME, cost / SHARE, length * PER_CHARACTER), LONGEST_FRAME)


class _Reply:
    """What has come of one reply. Times are those of the event loop, in seconds."""

    def __init__(self, asked: float) -> None:
        self._asked = asked
        self._thinks_since: float | None = None
        self._answers_since: float | None = None
        self._text = self._reasoning = ""
        self._notices: tuple[str, ...] = ()
        self._place = 0
        self._usage: Usage | None = None
        self._finish_reason: str | None = None

    def take(self, events: Sequence[Event]) -> None:
        self._text += "".join(event.text for event in events if isinstance(event, Text))
        self._reasoning += "".join(event.text for event in events if isinstance(event, Reasoning))
        for event in events:
            match event:
                case Notice(sentence):
                    self._notices += (sentence,)
                case InLine(place):
                    self._place = place
                case Usage():
                    self._usage = event
                case Done(reason):
                    self._finish_reason = reason

    def turn(self, now: float, ended: bool) -> Turn:
        within, text = split(self._text, ended)
        reasoning = self._reasoning + within
        begun = bool(text.strip())
        if reasoning.strip() and self._thinks_since is None:
            self._thinks_since = now
        if begun and self._answers_since is None:
            self._answers_since = now
        thought = 0.0
        if self._thinks_since is not None:
            thought = max(0.0, (now if self._answers_since is None else self._answers_since) - self._thinks_since)
        return Turn(
            text=text,
            reasoning=reasoning,
            thinking=self._thinks_since is not None and not begun and not ended,
            thought=thought,
            waited=None if begun or self._thinks_since is not None else now - self._asked,
            place=self._place,
            usage=self._usage,
            finish_reason=self._finish_reason,
            notices=self._notices,
        )


def _ended(turn: Turn, error: ChatError | None) -> Turn:
    ending = ""
    match turn.finish_reason:
        case _ if error:
            pass
        case "content_filter":
            error = content_filtered()
        case "length":
            ending = 'The reply stopped at the token limit. "Max tokens" sets it.'
        case "tool_calls" | "function_call":
            error = Refused("The model asked for a tool, and there is none here.", "Ask it to answer without.")
        case _ if not turn.text.strip() and turn.reasoning:
            error = Refused("The model thought, and gave no answer.", "Try again.")
        case _ if not turn.text.strip():
            error = Refused("The server sent an empty reply.", "Try again, or choose another model.")
    return replace(turn, waited=None, ending=ending, error=error)
