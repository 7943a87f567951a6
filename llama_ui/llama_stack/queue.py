"""Room for so many replies at once. Who comes then waits in line, and knows the place."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class AdmissionQueue:
    """Belongs to one event loop. The `room` ones who came first are in; as they leave, the others move up."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._tickets: list[asyncio.Event] = []

    @contextmanager
    def join(self) -> Iterator[asyncio.Event]:
        """Being in line, or in. The ticket is set whenever somebody before has left."""
        ticket = asyncio.Event()
        self._tickets.append(ticket)
        try:
            yield ticket
        finally:
            left = self._tickets.index(ticket)
            del self._tickets[left]
            for behind in self._tickets[left:]:
                behind.set()

    @property
    def active(self) -> int:
        """How many are in."""
        return min(len(self._tickets), self._room)

    @property
    def waiting(self) -> int:
        return len(self._tickets) - self.active

    def position(self, ticket: asyncio.Event) -> int:
        """The place in line, from 1; 0 when in."""
        return max(0, self._tickets.index(ticket) + 1 - self._room)
