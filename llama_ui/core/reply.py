"""One turn of a conversation: the events of a reply become snapshots to show, no more of them than a page can take."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import BadReply, ChatError, ContentFiltered
from llama_ui.core.events import Event, Finished, Notice, Queued, Reasoning, RequestSent, Text, Usage
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reasoning import split_reasoning
from llama_ui.core.stats import Stats

# Seconds between two updates of a page, at the least: more of them cost its browser more than they give to the reader.
FRAME_SECONDS = 0.05
# At the most: a page that shows nothing new for longer seems stuck.
MAX_FRAME_SECONDS = 0.3
# The part of the time that may go into updates, measured by how long the last one took to be absorbed. A long history
# or a full room thus gets fewer of them.
FRAME_SHARE = 0.05
# Seconds for each character shown: the browser lays out the whole reply anew with each update.
SECONDS_PER_CHARACTER = 10e-6
# Bytes of text to a token, by which they are estimated where the server does not count: about that of English.
BYTES_PER_TOKEN = 4
# Seconds between two snapshots while nothing comes. Gradio notices a closed tab, and at times Stop, only at one.
TICK_SECONDS = 0.5


# Sends a request and yields the events of the reply: `LlamaStackClient.stream`, `Connection.stream`.
type Stream = Callable[[str, Sequence[Message], SamplingOptions], AsyncGenerator[Event, None]]


class _Inbox:
    """What has come since the last snapshot, and when. `news` is set when there is something to look at."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.error: ChatError | None = None
        self._events: list[tuple[float, Event]] = []

    async def read(self, stream: AsyncGenerator[Event, None]) -> None:
        """Collects the events of a reply until it ends or fails."""
        now = asyncio.get_running_loop().time
        try:
            async with aclosing(stream):
                async for event in stream:
                    self._events.append((now(), event))
                    if not isinstance(
                        event, RequestSent
                    ):  # nothing to show: the first text must not wait for the next frame
                        self.news.set()
        except ChatError as error:
            self.error = error

    def empty(self) -> list[tuple[float, Event]]:
        events, self._events = self._events, []
        self.news.clear()
        return events


async def respond(
    stream: Stream, model: str, messages: Sequence[Message], options: SamplingOptions
) -> AsyncGenerator[Reply, None]:
    """Snapshots of one reply: at once when it begins, then one a frame, the last with everything or with an error.

    While nothing comes, a snapshot every `TICK`; before the first text it counts the seconds. The stream is read by a
    task of its own: who shows the snapshots slowly gets fewer of them, not a backlog. Closing this generator, or
    cancelling the task that runs it, closes the request to the server, also before the first token.
    """
    inbox = _Inbox()
    loop = asyncio.get_running_loop()
    reply = _ReplyBuilder(loop.time(), messages)
    reader = asyncio.create_task(inbox.read(stream(model, messages, options)))
    reader.add_done_callback(lambda _: inbox.news.set())
    try:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await inbox.news.wait()
            ended = reader.done()
            events = inbox.empty()
            reply.take(events)
            turn = reply.snapshot(loop.time(), ended)
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
                await asyncio.sleep(next_frame_delay(loop.time() - handed, len(turn.text) + len(turn.reasoning)))
    finally:
        reader.cancel()
        # Not gather, which would hand on a second cancel (a double click on Stop) into the closing of the request.
        await asyncio.wait([reader])


def next_frame_delay(cost: float, length: int) -> float:
    """The seconds until the next update, after one that took `cost` seconds and showed `length` characters."""
    return min(max(FRAME_SECONDS, cost / FRAME_SHARE, length * SECONDS_PER_CHARACTER), MAX_FRAME_SECONDS)


class _ReplyBuilder:
    """What has come of one reply. Times are those of the event loop, in seconds."""

    def __init__(self, asked: float, messages: Sequence[Message]) -> None:
        self._asked = asked
        self._prompt_tokens = _estimated("".join(message.content for message in messages))
        self._sent: float | None = None
        self._tokens_at: tuple[float, float] | None = None  # the first and the last
        self._thinks_since: float | None = None
        self._answers_since: float | None = None
        self._text = self._reasoning = self._model = ""
        self._notices: tuple[str, ...] = ()
        self._place = 0
        self._usage: Usage | None = None
        self._finish_reason: str | None = None

    def take(self, events: Sequence[tuple[float, Event]]) -> None:
        """`events`: each with the time at which it came."""
        self._text += "".join(event.text for _, event in events if isinstance(event, Text))
        self._reasoning += "".join(event.text for _, event in events if isinstance(event, Reasoning))
        for time, event in events:
            match event:
                case Text() | Reasoning():
                    self._tokens_at = (self._tokens_at[0] if self._tokens_at else time, time)
                case Notice(sentence):
                    self._notices += (sentence,)
                case Queued(place):
                    self._place = place
                case RequestSent(model):
                    self._sent, self._model = time if self._sent is None else self._sent, model
                case Usage():
                    self._usage = event
                case Finished(reason):
                    self._finish_reason = reason

    def snapshot(self, now: float, ended: bool) -> Reply:
        within, text = split_reasoning(self._text, ended)
        reasoning = self._reasoning + within
        begun = bool(text.strip())
        if reasoning.strip() and self._thinks_since is None:
            self._thinks_since = now
        if begun and self._answers_since is None:
            self._answers_since = now
        thought = 0.0
        if self._thinks_since is not None:
            thought = max(0.0, (now if self._answers_since is None else self._answers_since) - self._thinks_since)
        return Reply(
            text=text,
            reasoning=reasoning,
            thinking=self._thinks_since is not None and not begun and not ended,
            reasoning_seconds=thought,
            waited=None if begun or self._thinks_since is not None else now - self._asked,
            position=self._place,
            model=self._model,
            stats=self._stats(now),
            notices=self._notices,
        )

    def _stats(self, now: float) -> Stats:
        first, last = self._tokens_at or (None, None)
        sent = next(time for time in (self._sent, first, now) if time is not None)
        usage = self._usage or Usage(self._prompt_tokens, _estimated(self._reasoning + self._text))
        return Stats(
            waited=sent - self._asked,
            first=None if first is None else first - sent,
            generating=0.0 if first is None or last is None else last - first,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            estimated=self._usage is None,
            finish_reason=self._finish_reason,
        )


def _estimated(text: str) -> int:
    return math.ceil(len(text.encode(errors="replace")) / BYTES_PER_TOKEN)


def _ended(turn: Reply, error: ChatError | None) -> Reply:
    ending = ""
    match turn.stats.finish_reason:
        case _ if error:
            pass
        case "content_filter":
            error = ContentFiltered()
        case "length":
            ending = 'The reply stopped at the token limit. "Max tokens" sets it.'
        case "tool_calls" | "function_call":
            error = BadReply("The model asked for a tool, and there is none here.", "Ask it to answer without.")
        case _ if not turn.text.strip() and turn.reasoning:
            error = BadReply("The model thought, and gave no answer.", "Try again.")
        case _ if not turn.text.strip():
            error = BadReply("The server sent an empty reply.", "Try again, or choose another model.")
    return replace(turn, waited=None, ended=True, ending=ending, error=error)
