"""Several replies to one message: by one request where the server takes `n`, else by as many requests at once."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from llama_ui.core import reply as single
from llama_ui.core.conversation import Reply
from llama_ui.core.errors import FieldRefused
from llama_ui.core.events import Event, Finished, Reasoning, RequestSent, Sample, Text, Usage
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reply import Stream, next_frame_delay


def respond(
    stream: Stream, model: str, messages: Sequence[Message], options: SamplingOptions
) -> AsyncGenerator[Reply, None]:
    """`core.reply.respond`; where several replies are asked for, the first one with the others as its `samples`."""
    respond = _respond_to_several if (options.n or 1) > 1 else single.respond
    return respond(stream, model, messages, options)


async def _respond_to_several(
    stream: Stream, model: str, messages: Sequence[Message], options: SamplingOptions
) -> AsyncGenerator[Reply, None]:
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    request = _SharedRequest(stream, model, messages, options)
    replies = [Reply(waited=0.0)] * (options.n or 1)

    async def follow(index: int) -> None:
        try:
            async with aclosing(single.respond(request.part(index), model, messages, options)) as snapshots:
                async for replies[index] in snapshots:
                    news.set()
        finally:
            news.set()

    reading = asyncio.create_task(request.read())
    following = [asyncio.create_task(follow(index)) for index in range(len(replies))]
    try:
        while not all(task.done() for task in following):
            await news.wait()  # there is some at least every `TICK_SECONDS`
            news.clear()
            start = loop.time()
            yield replace(replies[0], ended=False, samples=tuple(replies[1:]))
            await asyncio.sleep(next_frame_delay(loop.time() - start, sum(len(reply.text) for reply in replies)))
        yield replace(replies[0], samples=tuple(replies[1:]))
        for task in following:
            task.result()
    finally:
        for task in (reading, *following):
            task.cancel()
        await asyncio.wait([reading, *following])


class _SharedRequest:
    """One request for several replies. A reply that does not come of it is requested by itself."""

    def __init__(self, stream: Stream, model: str, messages: Sequence[Message], options: SamplingOptions) -> None:
        self._stream, self._model, self._messages, self._options = stream, model, messages, options
        self._queues: list[asyncio.Queue[Event | Exception | None]] = [asyncio.Queue() for _ in range(options.n or 1)]
        self._has_several = False

    async def read(self) -> None:
        """Passes the events of the request on to its parts, and at the end None, or why it failed."""
        end: Exception | None = None
        try:
            async with aclosing(self._stream(self._model, self._messages, self._options)) as events:
                async for event in events:
                    self._pass_on(event)
        except Exception as error:
            end = error
        for queue in self._queues:
            queue.put_nowait(end)

    def _pass_on(self, event: Event) -> None:
        match event:
            case RequestSent():
                for queue in self._queues:
                    queue.put_nowait(event)
            case Sample(index, inner):
                self._has_several = True
                if index < len(self._queues):
                    self._queues[index].put_nowait(inner)
            case Usage() if self._has_several:
                pass  # it counts the tokens of all replies
            case _:
                self._queues[0].put_nowait(event)

    def part(self, index: int) -> Stream:
        """A stream of one of the replies."""

        async def events(*_: object) -> AsyncGenerator[Event, None]:
            has_begun, item = index == 0, await self._queues[index].get()
            while not (item is None or isinstance(item, Exception)):
                has_begun = has_begun or isinstance(item, Text | Reasoning | Finished)
                yield item
                item = await self._queues[index].get()
            takes_one = isinstance(item, FieldRefused) and item.field == "n"
            if item and not takes_one:
                raise item
            if takes_one or not has_begun:
                seed = None if self._options.seed is None else self._options.seed + index  # else all would be the same
                options = replace(self._options, n=None, seed=seed)
                async with aclosing(self._stream(self._model, self._messages, options)) as own:
                    async for event in own:
                        yield event

        return events
