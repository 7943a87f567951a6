"""The events of a reply."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from llama_ui.core.events import Event, Received, RequestSent


async def received(stream: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """The events that the server's chunks become. Closing this closes the stream."""
    async with aclosing(stream):
        async for event in stream:
            if not isinstance(event, RequestSent | Received):
                yield event
