"""What a person notices of a reply's events."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from llama_ui.core.events import Event, RequestSent


async def received(stream: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """The events of a reply without the sending of the request. Closing it closes the stream."""
    async with aclosing(stream):
        async for event in stream:
            if not isinstance(event, RequestSent):
                yield event
