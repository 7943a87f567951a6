"""A time limit for many short waits."""

import asyncio

import pytest

from llama_ui.transport.deadline import Deadline


def deadline(seconds: float) -> Deadline:
    return Deadline(asyncio.get_running_loop().time() + seconds)


async def test_a_wait_ends_at_the_deadline_and_the_next_may_follow() -> None:
    limit = deadline(0.01)
    with pytest.raises(TimeoutError):
        await limit.wait(asyncio.Event().wait())
    await asyncio.sleep(0)  # the task is not cancelled any longer
    limit.close()


async def test_a_deadline_that_is_moved_is_the_one_that_counts() -> None:
    limit = deadline(0.01)
    limit.move(asyncio.get_running_loop().time() + 3600)
    assert await limit.wait(asyncio.sleep(0.05, "in time")) == "in time"
    limit.move(asyncio.get_running_loop().time() + 0.01)  # sooner again
    with pytest.raises(TimeoutError):
        await limit.wait(asyncio.Event().wait())
    limit.close()


async def test_what_is_not_a_wait_is_not_ended() -> None:
    limit = deadline(0.0)
    await asyncio.sleep(0.05)
    with pytest.raises(TimeoutError):
        await limit.wait(asyncio.Event().wait())
    limit.close()


async def test_a_cancelled_wait_is_cancelled() -> None:
    limit = deadline(3600)
    task = asyncio.ensure_future(limit.wait(asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    limit.close()
