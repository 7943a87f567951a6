"""The queue: who is admitted, who waits at which position, and who moves up when a member leaves."""

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from llama_ui.llama_stack.queue import AdmissionQueue


class Member:
    """Looks at its position again only when it is notified, as a request does."""

    def __init__(self, queue: AdmissionQueue) -> None:
        self._queue = queue
        self._membership = ExitStack()
        self._moved = self._membership.enter_context(queue.join())
        self.last_seen = self.position

    @property
    def position(self) -> int:
        return self._queue.position(self._moved)

    def look(self) -> None:
        if self._moved.is_set():
            self._moved.clear()
            self.last_seen = self.position

    def leave(self) -> None:
        self._membership.close()


@given(
    capacity=st.integers(1, 4),
    # None: a member joins. A number: which of the members leaves, counted round and round.
    moves=st.lists(st.none() | st.integers(0, 11), max_size=40),
)
def test_nobody_overtakes_and_nobody_waits_while_there_is_room(capacity: int, moves: list[int | None]) -> None:
    queue = AdmissionQueue(capacity)
    members: list[Member] = []
    for move in moves:
        if move is None:
            members.append(Member(queue))
        elif members:
            members.pop(move % len(members)).leave()
        for member in members:
            member.look()
        active = min(capacity, len(members))
        assert (queue.active, queue.waiting) == (active, len(members) - active)
        assert [member.position for member in members] == [0] * active + list(range(1, len(members) - active + 1))
        assert [member.last_seen for member in members] == [member.position for member in members]
