"""Many visitors at once, over real sockets: all are served, or know their position in the queue."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable

import httpx
import psutil
import pytest

from tests.support import SECONDS
from tests.support.fake_stack import MODEL, FakeStack, Hold, Reply
from tests.support.page import served

pytestmark = pytest.mark.loopback


class Visitor:
    """A program that sends messages and reads the replies as they arrive."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self.http = http
        self._api = f"{url}/gradio_api/call"

    async def send(self, text: str) -> str:
        """Send a message. Return the URL of its reply."""
        message = {"message": text, "system_prompt": "", "model": MODEL}
        started = await self.http.post(f"{self._api}/v2/chat", json=message)
        return f"{self._api}/chat/{started.json()['event_id']}"

    @contextlib.asynccontextmanager
    async def says(self, text: str) -> AsyncIterator[AsyncIterator[str]]:
        """The updates of a reply. Leaving the block closes the connection, as closing the tab does."""
        async with self.http.stream("GET", await self.send(text)) as stream:
            yield (line async for line in stream.aiter_lines() if line.startswith("data: "))

    async def is_told(self, text: str) -> str:
        """The last update of a reply."""
        last = ""
        async with self.says(text) as updates:
            async for update in updates:
                last = update
        return last


@contextlib.asynccontextmanager
async def visitors(url: str, count: int) -> AsyncIterator[list[Visitor]]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=SECONDS, limits=limits, trust_env=False) as http:
        yield [Visitor(http, url) for _ in range(count)]


async def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(int(SECONDS / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {SECONDS} s: {what}")


async def first_with(words: str, updates: AsyncIterator[str]) -> str:
    async for update in updates:
        if words in update:
            return update
    raise AssertionError(f"the reply ended without: {words}")


async def ended(replies: list[Reply]) -> None:
    for reply in replies:
        assert await asyncio.to_thread(reply.ended.wait, SECONDS), "a request was left open"


def readers() -> list[asyncio.Task[object]]:
    """The tasks that read a reply and have not ended, in whatever loop."""
    tasks = [it for it in gc.get_objects() if isinstance(it, asyncio.Task)]
    return [task for task in tasks if not task.done() and "_Inbox.read" in repr(task.get_coro())]


def connections(stack: FakeStack) -> list[object]:
    """The open connections from this process to the server."""
    connections = psutil.Process().net_connections("tcp")
    return [it for it in connections if it.raddr and it.raddr.port == stack.port and it.status == "ESTABLISHED"]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_more_visitors_than_a_client_has_connections_by_default_are_served_at_once(stack: FakeStack) -> None:
    holds = [Hold() for _ in range(120)]
    for hold in holds:
        stack.enqueue("first ", hold, "last")
    with served(base_url=stack.url) as url:
        async with visitors(url.rstrip("/"), len(holds)) as crowd:
            replies = [asyncio.create_task(visitor.is_told("hello")) for visitor in crowd]
            await until(lambda: all(hold.reached.is_set() for hold in holds), "all requests are open at once")
            for hold in holds:
                hold.release.set()
            for reply in await asyncio.gather(*replies):
                assert "first last" in reply


async def test_visitors_beyond_the_limit_queue_know_their_position_and_move_up(stack: FakeStack) -> None:
    holds = [Hold(), Hold(), Hold()]
    for hold in holds:
        stack.enqueue("begun ", hold, "and ended")
    with served(base_url=stack.url, max_visitors=2) as url:
        async with visitors(url.rstrip("/"), 4) as (first, second, third, fourth):
            answered = []
            for visitor, hold in zip((first, second), holds, strict=False):
                answered.append(asyncio.create_task(visitor.is_told("hello")))
                await until(hold.reached.is_set, "two are answered at once")
            async with third.says("third") as thirds:
                assert "You are number 1 in line: 2 visitors are being answered" in await first_with("in line", thirds)
                async with fourth.says("fourth") as fourths:
                    await first_with("You are number 2 in line", fourths)
                    assert len(stack.requests) == 2, "a queued message is not sent"
                    holds[1].release.set()
                    await first_with("You are number 1 in line", fourths)
                    await first_with("begun", thirds)
                    holds[2].release.set()
                    await first_with("begun and ended", thirds)
                    await first_with("Hello there.", fourths)
            holds[0].release.set()
            for reply in await asyncio.gather(*answered):
                assert "begun and ended" in reply
