"""The line: who is in, who waits at which place, and who moves up when somebody leaves."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.llama_stack.queue import AdmissionQueue


class Somebody:
    """Joins the line, and looks at the place again only when told to, as a page does."""

    def __init__(self, line: AdmissionQueue) -> None:
        self._line = line
        self._stay = ExitStack()
        self._ticket = self._stay.enter_context(line.join())
        self.believed = self.place

    @property
    def place(self) -> int:
        return self._line.position(self._ticket)

    def told(self) -> bool:
        """Whether somebody before has left since the last look."""
        told = self._ticket.is_set()
        self._ticket.clear()
        if told:
            self.believed = self.place
        return told

    def leaves(self) -> None:
        self._stay.close()


def test_as_many_are_in_as_there_is_room_and_the_others_wait_in_the_order_in_which_they_came() -> None:
    line = AdmissionQueue(2)
    people = [Somebody(line) for _ in range(5)]
    assert [person.place for person in people] == [0, 0, 1, 2, 3]


@pytest.mark.parametrize(
    "leaving",
    range(5),
    ids=["the first inside", "the last inside", "the first in line", "the middle of the line", "the end of the line"],
)
def test_who_leaves_moves_up_those_behind_and_nobody_before(leaving: int) -> None:
    line = AdmissionQueue(2)
    people = [Somebody(line) for _ in range(5)]
    people.pop(leaving).leaves()
    assert not any(person.told() for person in people[:leaving]), "somebody before was disturbed"
    assert all(person.told() for person in people[leaving:]), "somebody behind was not told"
    assert [person.believed for person in people] == [0, 0, 1, 2]


def test_who_fails_leaves_too() -> None:
    line = AdmissionQueue(1)
    with pytest.raises(ZeroDivisionError), line.join():
        waiting = Somebody(line)
        raise ZeroDivisionError
    assert waiting.told()
    assert waiting.place == 0


@given(
    room=st.integers(1, 4),
    # None: somebody joins. A number: which of those present leaves, counted round and round.
    moves=st.lists(st.none() | st.integers(0, 11), max_size=40),
)
def test_however_people_come_and_go_the_room_is_full_before_anybody_waits_and_nobody_overtakes(
    room: int, moves: list[int | None]
) -> None:
    line = AdmissionQueue(room)
    people: list[Somebody] = []  # in the order in which they came
    for move in moves:
        if move is None:
            people.append(Somebody(line))
        elif people:
            people.pop(move % len(people)).leaves()
        for person in people:
            person.told()
        inside = min(room, len(people))
        assert [person.place for person in people] == [0] * inside + list(range(1, len(people) - inside + 1))
        assert [person.believed for person in people] == [person.place for person in people], "a move went untold"
