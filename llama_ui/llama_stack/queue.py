"""FIFO limit on concurrent replies."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class AdmissionQueue:
    """Admits the first `capacity` members; as they leave, the next ones move up. Belongs to one event loop."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._members: list[asyncio.Event] = []

    @contextmanager
    def join(self) -> Iterator[asyncio.Event]:
        """Makes the caller a member. The event is set whenever a member ahead of it has left."""
        moved = asyncio.Event()
        self._members.append(moved)
        try:
            yield moved
        finally:
            index = self._members.index(moved)
            del self._members[index]
            for behind in self._members[index:]:
                behind.set()

    @property
    def active(self) -> int:
        """The number of members that are admitted."""
        return min(len(self._members), self._capacity)

    @property
    def waiting(self) -> int:
        """The number of members that are not admitted yet."""
        return len(self._members) - self.active

    def position(self, moved: asyncio.Event) -> int:
        """The position of the member with this event among those that wait, from 1; 0 once it is admitted."""
        return max(0, self._members.index(moved) + 1 - self._capacity)
