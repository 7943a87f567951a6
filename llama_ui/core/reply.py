"""One reply: the events of a stream become snapshots, no more of them than a page can show."""

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from statistics import fmean

from llama_ui.core import events
from llama_ui.core.conversation import REFUSED, Reply
from llama_ui.core.errors import BadReply, ChatError, ContentFiltered, FieldRefused
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reasoning import split_reasoning
from llama_ui.core.stats import MANY, Stats
from llama_ui.core.text import as_code

FRAME_SECONDS = 0.05  # the least time between two snapshots: more of them cost a browser more than they give the reader
MAX_FRAME_SECONDS = 0.3  # the most, below 150 replies at once: a page that shows nothing new for longer seems stuck
FRAME_SHARE = 0.05  # of the time, that snapshots may take: the longer each of them takes, the fewer there are
FRAMES_PER_SECOND = 500  # of all replies together: each costs the one thread that serves everybody a quarter of a ms
SECONDS_PER_CHARACTER = 10e-6  # of a snapshot: the browser lays out the whole reply each time
TICK_SECONDS = 0.5  # between two snapshots while nothing arrives: only at one, Gradio notices that a tab was closed
BYTES_PER_TOKEN = 4  # of English text, for estimates where the server does not count tokens

# What the names of finish reasons have in common, in the order in which they are tried; any other is an ordinary end.
_FINISH_REASONS = [
    (kind, re.compile(names, re.IGNORECASE))
    for kind, names in (
        ("tool", "tool|function"),
        ("failure", "error|exception|fail|abort|cancel|time_?out|timed|interrupt|kill|crash|unavailable|preempt|evict"),
        ("failure", "overload|rate_limit|malformed|resource|memory|\\boom\\b|disconnect|shutdown|terminated|internal"),
        ("length", "length|limit|max|out_of_token|token_cap|context|budget|truncat|incomplete"),
        ("filter", "filter|safety|block|prohibit|recitation|refus|moderat|guard|sensitive|policy|spii"),
    )
]

# Sends a request and yields the events of its reply: `LlamaStackClient.stream`, `Connection.stream`.
type Request = Callable[[SamplingOptions], AsyncGenerator[events.Event, None]]
type Stream = Callable[[str, Sequence[Message], SamplingOptions], AsyncGenerator[events.Event, None]]


async def respond(
    stream: Stream, model: str, messages: Sequence[Message], options: SamplingOptions
) -> AsyncGenerator[Reply, None]:
    """Sends a request and yields snapshots of its reply; where several are asked for, the others are its `samples`.

    The first text is yielded when it arrives, then one snapshot a frame, and at last one that has `ended`, with its
    error if any. While nothing arrives, a snapshot every `TICK_SECONDS` counts the seconds. A slow consumer gets fewer
    snapshots. Closing this generator closes the request at once. Raises what `stream` raises and is no `ChatError`.
    """
    loop = asyncio.get_running_loop()
    progress = _Progress(loop.time(), messages, options)
    reader = asyncio.create_task(progress.read(lambda options: stream(model, messages, options)))
    _in_progress.add(progress)
    try:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(progress.news.wait(), TICK_SECONDS)
            if progress.end.is_set():
                break
            has_news, started = progress.news.is_set(), loop.time()
            progress.news.clear()
            yield (reply := progress.snapshot(started))
            # Two iterations of the loop: the snapshot is sent, and everybody else has a turn, which counts as its cost.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if has_news:
                length = sum(len(each.text) + len(each.reasoning) for each in (reply, *reply.samples))
                delay = next_frame_delay(loop.time() - started, length)
                progress.pause = delay if length else 0.0
                with suppress(TimeoutError):
                    await asyncio.wait_for(progress.end.wait(), delay)
        reply = progress.snapshot(loop.time())
        if defect := progress.defect:
            yield reply
            raise defect
        yield progress.finished(reply)
    finally:
        _in_progress.discard(progress)
        reader.cancel()
        # Not gather: a second cancel (a double click on Stop) would interrupt the closing of the request.
        await asyncio.wait([reader])


def next_frame_delay(cost: float, length: int) -> float:
    """The seconds until the next snapshot, after one that took `cost` seconds to send and has `length` characters."""
    delay = min(max(cost / FRAME_SHARE, length * SECONDS_PER_CHARACTER), MAX_FRAME_SECONDS)
    return max(FRAME_SECONDS, delay, len(_in_progress) / FRAMES_PER_SECOND)


_in_progress: set["_Progress"] = set()


class _Progress:
    """What has arrived of a reply. Times are those of the event loop, in seconds."""

    def __init__(self, started: float, messages: Sequence[Message], options: SamplingOptions) -> None:
        self.news = asyncio.Event()  # set when there is something new to show
        self.end = asyncio.Event()
        self.pause = 0.0  # seconds until the next snapshot, for which the stream need not be read sooner
        self.error: Exception | None = None
        self._options = options
        self._others: list[_Progress] = []  # other replies to the same message
        self._is_alone = options.n is None  # whether its request asks for no other
        self._have_come = False  # whether the others come of the same request
        for index in range(1, options.n or 1):
            seed = None if options.seed is None else options.seed + index  # else a server would repeat the first one
            self._others.append(_Progress(started, messages, replace(options, n=None, seed=seed)))
            self._others[-1].news = self.news
        self._started = started
        self._prompt_tokens = _estimate_tokens("".join(message.content for message in messages))
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tokens: list[events.Token] = []
        self._reply = Reply()  # without what a snapshot computes
        self._usage: events.Usage | None = None
        self._finish_reason: str | None = None
        self._sent_at: float | None = None
        self._token_times: tuple[float, float] | None = None  # of the first and the last
        self._reasoning_at: float | None = None
        self._answer_at: float | None = None

    async def read(self, request: Request) -> None:
        """Collects the events until the stream ends or fails. Replies that do not come of it are requested alone."""
        alone: Sequence[_Progress] = ()
        try:
            await self._collect(request(self._options))
            alone = [other for other in self._others if other._token_times is None]
        except Exception as error:
            if self._others and isinstance(error, FieldRefused) and error.field == "n":
                alone = (self, *self._others)
            else:
                self.error = error
                for other in self._others:
                    other.error = error
        finally:
            await asyncio.gather(*(progress._read_alone(request) for progress in alone))
            for progress in (self, *self._others):
                progress.end.set()
            self.news.set()

    async def _read_alone(self, request: Request) -> None:
        self._is_alone = True
        try:
            await self._collect(request(replace(self._options, n=None)))
        except Exception as error:
            self.error = error

    async def _collect(self, stream: AsyncGenerator[events.Event, None]) -> None:
        now = asyncio.get_running_loop().time
        async with aclosing(stream):
            async for event in stream:
                self._add(event, now())
                if isinstance(event, events.Text | events.Reasoning) and event.caught_up and self.pause:
                    await asyncio.sleep(self.pause)  # many small reads cost more than one of all that they bring

    def _add(self, event: events.Event, time: float) -> None:
        match event:
            case events.Text() | events.Reasoning():
                (self._text if isinstance(event, events.Text) else self._reasoning).append(event.text)
                self._token_times = (self._token_times or (time, time))[0], time
            case events.Notice():
                self._reply = replace(self._reply, notices=(*self._reply.notices, event.sentence))
            case events.Queued():
                self._reply = replace(self._reply, position=event.position)
            case events.RequestSent():
                self._reply = replace(self._reply, model=event.model)
                self._sent_at = time if self._sent_at is None else self._sent_at
                return  # nothing to show: the first text need not wait for a frame after this one
            case events.Tokens():
                self._tokens += event.tokens
            case events.Received():
                self._reply = replace(self._reply, received=event)
            case events.Sample(_, inner) if self._is_alone:
                self._add(inner, time)
            case events.Sample(index, inner):
                self._have_come = True
                for other in self._others[index - 1 : index]:
                    other._sent_at = self._sent_at
                    other._add(inner, time)
            case events.Usage() if not self._have_come:  # else it counts the tokens of all replies
                self._usage = event
            case events.Finished():
                self._finish_reason = event.finish_reason
        self.news.set()

    def snapshot(self, now: float) -> Reply:
        self._text, self._reasoning = ["".join(self._text)], ["".join(self._reasoning)]
        tagged, text = split_reasoning(self._text[0], self.end.is_set())
        reasoning = self._reasoning[0] + tagged
        if reasoning.strip() and self._reasoning_at is None:
            self._reasoning_at = now
        if text.strip() and self._answer_at is None:
            self._answer_at = now
        until = now if self._answer_at is None else self._answer_at
        return replace(
            self._reply,
            text=text,
            tokens=tuple(self._tokens),
            reasoning=reasoning,
            reasoning_seconds=None if self._reasoning_at is None else max(0.0, until - self._reasoning_at),
            waited=now - self._started if self._reasoning_at is None and self._answer_at is None else None,
            stats=self._stats(now),
            samples=tuple(other.snapshot(now) for other in self._others),
        )

    @property
    def defect(self) -> Exception | None:
        """What the stream raised that is no `ChatError`, if anything."""
        errors = [progress.error for progress in (self, *self._others)]
        return next((error for error in errors if error and not isinstance(error, ChatError)), None)

    def finished(self, reply: Reply) -> Reply:
        """The last snapshot as that of a reply that has ended. There is no `defect`."""
        samples = tuple(other.finished(sample) for other, sample in zip(self._others, reply.samples, strict=True))
        error = self.error if isinstance(self.error, ChatError) else None
        return replace(finish(reply, error, self._options), samples=samples)

    def _stats(self, now: float) -> Stats:
        first, last = self._token_times or (None, now)
        sent = next(time for time in (self._sent_at, first, now) if time is not None)
        usage = self._usage or events.Usage(None, None)
        completion = _estimate_tokens(self._reasoning[0] + self._text[0])
        chances = [math.exp(token.logprob) for token in self._tokens] if self.end.is_set() else []
        return Stats(
            waited=sent - self._started,
            first=None if first is None else first - sent,
            generating=now - (first or sent) if self.error else last - (first or last),
            prompt_tokens=self._prompt_tokens if usage.prompt_tokens is None else usage.prompt_tokens,
            completion_tokens=completion if usage.completion_tokens is None else usage.completion_tokens,
            estimated=None in (usage.prompt_tokens, usage.completion_tokens),
            finish_reason=self._finish_reason,
            mean_probability=fmean(chances) if chances else None,
            lowest_probability=min(chances, default=None),
        )


def _estimate_tokens(text: str) -> int:
    return math.ceil(len(text.encode(errors="replace")) / BYTES_PER_TOKEN)


def finish(reply: Reply, error: ChatError | None, options: SamplingOptions = SamplingOptions()) -> Reply:  # noqa: B008 - frozen
    """The last snapshot of a reply, with why it ended unless that was as usual. `options`: as they were requested."""
    reason = reply.stats.finish_reason
    kind = "" if error else next((kind for kind, names in _FINISH_REASONS if names.search(reason or "")), "")
    is_long = len(reply.text + reply.reasoning) >= MANY * BYTES_PER_TOKEN
    ending = ""
    if kind == "tool":
        error = BadReply("The model tried to call a tool; tools aren't available here.", "Ask it to answer without.")
    elif kind == "length":
        ending = 'The reply stopped at the token limit. "Max tokens" sets it.'
    elif kind == "filter":
        error = ContentFiltered()
    elif kind == "failure":
        error = BadReply(f"The server broke the reply off ({as_code(reason or '')}).", "Try again.")
    elif not error and reply.reasoning and not reply.has_answer:
        error = BadReply("The model finished thinking without an answer.", "Try again.")
    elif not error and not reply.has_answer:
        error = BadReply("The server sent an empty reply.", "Try again, or choose another model.")
    elif not error and reason is None:
        ending = "The server ended the reply without a reason; it may not be complete."
    elif not error and options.streaming and is_long and reply.stats.in_one_piece:
        ending = "The reply came in one piece: the server, or a proxy in between, held the stream back."
    refused = error is not None and error.refuses_message
    if not error:
        ending = " ".join(filter(None, [ending, *_ignored(reply, options)]))
    if refused:
        ending = REFUSED
    stats = replace(reply.stats, finish_reason="failed") if error else reply.stats
    reply = replace(reply, received=(error and error.received) or reply.received, stats=stats)
    return replace(reply, waited=None, ended=True, ending=ending, error=error, refused=refused)


def _ignored(reply: Reply, options: SamplingOptions) -> Iterator[str]:
    """A sentence for each option that the server has taken no notice of, as far as the reply shows it."""
    if options.top_logprobs and not reply.tokens:
        yield "The server sent no token probabilities."
    if options.thinking is False and reply.reasoning:
        yield 'The model was asked not to think, and did; try "Reasoning effort".'
    for stop in options.stop or ():
        if stop in reply.text.removesuffix(stop):
            yield f"The server did not stop at {as_code(stop)}."
