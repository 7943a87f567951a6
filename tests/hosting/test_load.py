"""A room full of visitors at the page, over real sockets: all get in, or know their place, and nothing is left."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import batched

import gradio as gr
import httpx
import psutil
import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from llama_ui.web import gradio_patches
from tests.support.fake_stack import Endless, FakeStack, Hold, Reply
from tests.support.page import served

pytestmark = pytest.mark.loopback
SECONDS = 30.0
# System prompt, model and sampling options, all left alone.
SETTINGS = ("", "fake/llama", "", "", "", "")


@pytest.fixture
def url(stack: FakeStack) -> Iterator[str]:
    with served(base_url=stack.url) as url:
        yield url.rstrip("/")


class Visitor:
    """Somebody who sends a message, and reads what comes as it comes."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._call = f"{url}/gradio_api/call/chat"

    async def asks(self, text: str) -> str:
        """Sends a message. Returns the address at which the reply can be read."""
        joined = await self._http.post(self._call, json={"data": [text, *SETTINGS]})
        return f"{self._call}/{joined.json()['event_id']}"

    @contextlib.asynccontextmanager
    async def says(self, text: str) -> AsyncIterator[AsyncIterator[str]]:
        """What is shown, update by update; leaving the block is closing the tab."""
        async with self._http.stream("GET", await self.asks(text)) as stream:
            yield (line async for line in stream.aiter_lines() if line.startswith("data: "))

    async def is_told(self, text: str) -> str:
        """All of the reply to a message."""
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
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in another thread
            await asyncio.sleep(0.01)
    assert condition(), what


async def first_with(words: str, updates: AsyncIterator[str]) -> str:
    async for update in updates:
        if words in update:
            return update
    raise AssertionError(f"the reply ended without: {words}")


async def ended(replies: list[Reply]) -> None:
    for reply in replies:
        assert await asyncio.to_thread(reply.ended.wait, SECONDS), "a request was left open"


def found[Kind](kind: type[Kind]) -> list[Kind]:
    """All objects of a kind, wherever they are."""
    return [it for it in gc.get_objects() if isinstance(it, kind)]


def readers() -> list[asyncio.Task[object]]:
    """The tasks that read a reply and have not ended, in whatever loop."""
    return [task for task in found(asyncio.Task) if not task.done() and "_Inbox.read" in repr(task.get_coro())]


def connections(stack: FakeStack) -> list[object]:
    """The open connections from this process to the server."""
    there = psutil.Process().net_connections("tcp")
    return [
        one for one in there if one.raddr and one.raddr.port == stack.port and one.status == psutil.CONN_ESTABLISHED
    ]


async def test_five_hundred_replies_that_nobody_waited_for_leave_nothing_behind(url: str, stack: FakeStack) -> None:
    async with visitors(url, 500) as crowd:
        for wave in batched(crowd, 50):
            asked = len(stack.requests)
            # Every second one is still without a token when the tab is closed.
            replies = [stack.enqueue(Endless() if number % 2 else Hold()) for number in range(len(wave))]

            async def come_and_go(visitor: Visitor, gone: asyncio.Event) -> None:
                async with visitor.says("hello"):
                    await gone.wait()

            gone = asyncio.Event()
            here = [asyncio.create_task(come_and_go(visitor, gone)) for visitor in wave]
            await until(lambda asked=asked: len(stack.requests) == asked + 50, "all have asked")  # type: ignore[misc] # mypy cannot infer it
            gone.set()
            await asyncio.gather(*here)
            await ended(replies)
        await until(lambda: not readers(), "no task is left")
        await until(lambda: not connections(stack), "no connection is left")
        assert "Hello there." in await crowd[0].is_told("and now?")


async def test_more_visitors_than_a_client_has_connections_by_default_are_served_at_once(
    url: str, stack: FakeStack
) -> None:
    holds = [Hold() for _ in range(120)]
    for hold in holds:
        stack.enqueue("first ", hold, "last")
    async with visitors(url, len(holds)) as crowd:
        replies = [asyncio.create_task(visitor.is_told("hello")) for visitor in crowd]
        await until(lambda: all(hold.reached.is_set() for hold in holds), "all have asked at the same time")
        for hold in holds:
            hold.release.set()
        for reply in await asyncio.gather(*replies):
            assert "first last" in reply


async def test_what_nobody_fetches_is_forgotten_and_its_reply_ends(
    url: str, stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradio_patches, "UNFETCHED", 0.2)
    reply = stack.enqueue("a secret", Hold())
    async with visitors(url, 1) as (visitor,):
        empty = [it for it in found(gradio_patches.Mailboxes) if not it]
        await visitor.asks("hello")
        (boxes,) = [it for it in empty if it]
        await until(reply.ended.is_set, "the request to the server has ended")
        await until(lambda: not boxes, "nothing is left of it")
        monkeypatch.undo()
        assert "Hello there." in await visitor.is_told("hello")


async def test_made_up_sessions_push_out_nobody() -> None:
    with gr.Blocks() as demo:
        boxes = gradio_patches.Mailboxes(demo._queue)
    for number in range(10_000):
        boxes[f"session {number}"] = asyncio.Queue()
    assert len(boxes) == 10_000 and "session 0" in boxes


async def test_a_visitor_who_does_not_read_holds_up_nobody(url: str, stack: FakeStack) -> None:
    stack.enqueue("much " * 100_000, Endless())
    async with visitors(url, 1) as (other,):
        port = int(url.rsplit(":", 1)[1])
        path = httpx.URL(await other.asks("hello")).path
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            deaf.connect(("127.0.0.1", port))
            deaf.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await until(lambda: len(stack.requests) == 1, "the one who does not read has asked")
            await until(lambda: any(flow.write_paused for flow in found(FlowControl)), "more is sent than can arrive")
            for _ in range(5):
                assert "Hello there." in await other.is_told("hello")


async def test_beyond_the_room_there_is_a_line_in_which_everybody_knows_the_place_and_moves_up(
    stack: FakeStack,
) -> None:
    holds = [Hold(), Hold(), Hold()]
    for hold in holds:
        stack.enqueue("begun ", hold, "and ended")
    with served(base_url=stack.url, max_visitors=2) as url:
        async with visitors(url.rstrip("/"), 4) as (first, second, third, fourth):
            inside = []
            for visitor, hold in zip((first, second), holds, strict=False):
                inside.append(asyncio.create_task(visitor.is_told("hello")))
                await until(hold.reached.is_set, "there is room for two")
            async with third.says("third") as thirds:
                assert "You are number 1 in line: 2 visitors are being answered" in await first_with("in line", thirds)
                async with fourth.says("fourth") as fourths:
                    await first_with("You are number 2 in line", fourths)
                    assert len(stack.requests) == 2, "who waits in line has asked the server for nothing"
                    holds[1].release.set()
                    await first_with("You are number 1 in line", fourths)
                    await first_with("begun", thirds)
                    holds[2].release.set()
                    await first_with("begun and ended", thirds)
                    await first_with("Hello there.", fourths)
            holds[0].release.set()
            for reply in await asyncio.gather(*inside):
                assert "begun and ended" in reply


async def test_who_leaves_the_line_is_not_waited_for(stack: FakeStack) -> None:
    hold = Hold()
    stack.enqueue("begun", hold)
    with served(base_url=stack.url, max_visitors=1) as url:
        async with visitors(url.rstrip("/"), 3) as (first, second, third):
            inside = asyncio.create_task(first.is_told("first"))
            await until(hold.reached.is_set, "the room is full")
            tab = contextlib.AsyncExitStack()
            seconds = await tab.enter_async_context(second.says("second"))
            await first_with("You are number 1 in line", seconds)
            async with third.says("third") as thirds:
                await first_with("You are number 2 in line", thirds)
                await tab.aclose()
                await first_with("You are number 1 in line", thirds)
                hold.release.set()
                await first_with("Hello there.", thirds)
            await inside
    assert [request["messages"][-1]["content"] for request in stack.requests] == ["first", "third"]
