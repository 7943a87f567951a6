"""A time limit for many short waits."""

import asyncio
from collections.abc import Awaitable

_RECHECK = 0.1  # seconds


class Deadline:
    """Limits waits in one event loop, like `asyncio.timeout_at`, but with one timer for all of them."""

    def __init__(self, when: float) -> None:
        """`when` is a time of the event loop."""
        self._when = self._next_check = when
        self._waiting: asyncio.Task[object] | None = None
        self._expired = False
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(when, self._check)

    def move(self, when: float) -> None:
        """Sets another time. A later one costs nothing."""
        self._when = when
        if when < self._next_check:
            self._timer.cancel()
            self._start_timer(when)

    async def wait[T](self, awaitable: Awaitable[T]) -> T:
        """Its result. Raises TimeoutError at the deadline."""
        task = self._waiting = asyncio.current_task()
        assert task
        cancelled = task.cancelling()
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._expired and task.uncancel() <= cancelled:
                raise TimeoutError from None
            raise
        finally:
            self._waiting = None

    def close(self) -> None:
        """Ends the timer."""
        self._timer.cancel()

    def _check(self) -> None:
        now = self._loop.time()
        if now >= self._when and self._waiting:
            self._expired = True
            self._waiting.cancel()
        else:
            self._start_timer(max(self._when, now + _RECHECK))

    def _start_timer(self, when: float) -> None:
        self._next_check = when
        self._timer = self._loop.call_at(when, self._check)
