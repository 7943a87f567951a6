"""The visitors, all in one process of their own: `python bench/load.py JOB`, a JSON object, prints the results as JSON.

JOB has `kind` ("direct", "gradio", "chainlit"), `url` of the program, `server` the scripted server, `what` one of the
functions below, and their arguments.
"""

import asyncio
import contextlib
import itertools
import json
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil
import uvloop
from chainlit_page import ChainlitPage
from visitors import Direct, GradioPage, Visitor

GIVE_UP = 60.0


class Load:
    """What can be asked of the visitors. All times are in seconds."""

    def __init__(self, http: aiohttp.ClientSession, kind: str, url: str, server: str) -> None:
        self._http = http
        self._kind = kind
        self._url = url
        self._server = server

    def _visitor(self, history: list[dict[str, str]] | None = None) -> Visitor:
        match self._kind:
            case "direct":
                return Direct(self._http, self._server, history)
            case "chainlit":
                return ChainlitPage(self._http, self._url)
        return GradioPage(self._http, self._url)

    @contextlib.asynccontextmanager
    async def _visitors(self, count: int) -> AsyncIterator[list[Visitor]]:
        """With their pages open, ten at a time."""
        visitors = [self._visitor() for _ in range(count)]
        for group in itertools.batched(visitors, 10):
            await asyncio.gather(*(visitor.open() for visitor in group))
        await asyncio.sleep(1 if count > 1 else 0.1)
        yield visitors
        await asyncio.gather(*(visitor.leave() for visitor in visitors))

    async def _script(self, **script: float) -> None:
        async with self._http.put(f"{self._server}/script", json=script) as answer:
            answer.raise_for_status()

    async def first_token(self, turns: int) -> dict[str, float]:
        """The time to the first text: one visitor, one turn after the other; the first few are not counted."""
        await self._script(tokens=2, rate=100.0)
        taken = []
        for number in range(turns + 3):
            async with self._visitors(1) as (visitor,):
                seen = await _told(visitor)
            if number >= 3:
                taken.append(seen[0][0])
        return {"median": statistics.median(taken), "p90": sorted(taken)[int(0.9 * len(taken))]}

    async def arrivals(
        self, count: int, over: float, tokens: int, rate: float, pid: int = 0, profile: str = ""
    ) -> dict[str, float]:
        """So many visitors send a message each, spread over `over` seconds. Completions are over the ideal.

        `profile`: the file for a profile by py-spy of the two seconds in which the first are served.
        """
        await self._script(tokens=tokens, rate=rate)
        process = psutil.Process(pid) if pid else None
        replies: list[list[tuple[float, int]]] = []
        peak = 0.0

        async def chat(number: int, visitor: Visitor) -> None:
            await asyncio.sleep(over * number / count)
            with contextlib.suppress(TimeoutError, RuntimeError, OSError, aiohttp.ClientError):
                replies.append(await asyncio.wait_for(_told(visitor), GIVE_UP))

        async def watch_memory() -> None:
            nonlocal peak
            while process:
                peak = max(peak, process.memory_info().rss / 1e6)
                await asyncio.sleep(0.5)

        async with self._visitors(count) as visitors:
            if profile:
                spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--output", profile]
                spy += ["--format", "raw", "--duration", "2", "--rate", "500", "--nonblocking"]
                await asyncio.create_subprocess_exec(*spy, stdout=DEVNULL, stderr=DEVNULL)
                await asyncio.sleep(1)  # it takes that long to begin
            before = _cpu(process)
            watching = asyncio.create_task(watch_memory())
            await asyncio.gather(*(chat(number, visitor) for number, visitor in enumerate(visitors)))
            watching.cancel()
            cpu = _cpu(process) - before
        longest = max((reply[-1][1] for reply in replies), default=0)
        whole = [reply for reply in replies if reply[-1][1] == longest]
        gaps = sorted(later[0] - sooner[0] for reply in whole for sooner, later in itertools.pairwise(reply))
        ideal = tokens / rate
        ends = [reply[-1][0] / ideal for reply in whole]
        return {
            "failures": count - len(whole),
            "median": statistics.median(ends) if ends else 0.0,
            "slowest": max(ends, default=0.0),
            "first_median": statistics.median(reply[0][0] for reply in whole) if whole else 0.0,
            "first_slowest": max((reply[0][0] for reply in whole), default=0.0),
            "gap_p95": gaps[int(0.95 * len(gaps))] if gaps else 0.0,
            "updates": statistics.mean(len(reply) for reply in whole) if whole else 0.0,
            "cpu": cpu,
            "peak": peak,
        }

    async def history(self, messages: int, length: int, tokens: int, rate: float) -> dict[str, float]:
        """A reply in a conversation of so many messages of so many characters."""
        await self._script(tokens=tokens, rate=rate)
        said = [
            {"role": ("user", "assistant")[number % 2], "content": ("word " * length)[:length]}
            for number in range(messages)
        ]
        visitor = self._visitor(said)
        await visitor.open()
        if isinstance(visitor, GradioPage):
            parts = [{**item, "content": [{"type": "text", "text": item["content"]}]} for item in said]
            await visitor.remember([{**part, "metadata": None, "options": None} for part in parts])
        seen = await asyncio.wait_for(_told(visitor), GIVE_UP * 3)
        gaps = [later[0] - sooner[0] for sooner, later in itertools.pairwise(seen)]
        return {"whole": seen[-1][0], "characters": seen[-1][1], "gap": max(gaps), "updates": len(seen)}

    async def abort(self, how: str, wait: float, times: int) -> dict[str, float | None]:
        """The time from Stop, or from closing the tab, until the server saw the end of its request: the median.

        `wait` is how long the server waits before its first token; the reply is ended long before, or else in the
        middle. None: not within ten seconds.
        """
        taken: list[float | None] = []
        for _ in range(times):
            await self._script(tokens=3000, rate=30.0, wait=wait)
            begun = asyncio.Event()
            async with self._visitors(1) as (visitor,):
                saying = asyncio.create_task(visitor.say("hello", lambda _, begun=begun: begun.set()))  # type: ignore[misc] # mypy cannot infer it
                if wait:
                    await asyncio.sleep(1.3)
                else:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(begun.wait(), 10)
                    await asyncio.sleep(0.7)
                aborted = time.monotonic()
                await (visitor.stop() if how == "stop" else visitor.leave())
                ended = await self._ended()
                saying.cancel()
                await asyncio.gather(saying, return_exceptions=True)
            taken.append(ended - aborted if ended else None)
        seen = [seconds for seconds in taken if seconds is not None]
        return {"median": statistics.median(seen) if len(seen) == times else None}

    async def _ended(self) -> float | None:
        for _ in range(400):
            async with self._http.get(f"{self._server}/log") as answer:
                log = orjson.loads(await answer.read())
            if log and log[-1][2]:
                return float(log[-1][2])
            await asyncio.sleep(0.025)
        return None

    async def idle(self, count: int, seconds: float, pid: int) -> dict[str, float]:
        """The share of a core that open pages cost which nobody uses, the page's heartbeat included."""
        process = psutil.Process(pid)
        async with self._visitors(count), contextlib.AsyncExitStack() as beating:
            for number in range(count):
                url = f"{self._url}/gradio_api/heartbeat/idle{number}"
                await beating.enter_async_context(self._http.get(url))
            await asyncio.sleep(2)
            before = _cpu(process)
            await asyncio.sleep(seconds)
            return {"share": (_cpu(process) - before) / seconds, "megabytes": process.memory_info().rss / 1e6}


async def _told(visitor: Visitor) -> list[tuple[float, int]]:
    """When more of the reply could be seen, and how many characters by then."""
    seen: list[tuple[float, int]] = []
    started = time.monotonic()

    def note(length: int) -> None:
        if not seen or length != seen[-1][1]:
            seen.append((time.monotonic() - started, length))

    await visitor.say("hello", note)
    return seen


def _cpu(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


async def main(job: dict[str, Any]) -> None:
    unlimited = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    # Cookies of plain addresses, as a browser has them.
    jar = aiohttp.CookieJar(unsafe=True)
    timeout = aiohttp.ClientTimeout(total=GIVE_UP * 4)
    async with aiohttp.ClientSession(connector=unlimited, cookie_jar=jar, timeout=timeout, read_bufsize=2**22) as http:
        load = Load(http, job.pop("kind"), job.pop("url"), job.pop("server"))
        print(json.dumps(await getattr(load, job.pop("what"))(**job)))


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
