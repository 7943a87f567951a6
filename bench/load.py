"""Simulated visitors, all in one process: `python bench/load.py JOB` prints the results of a job. Both are JSON.

A job has `kind` ("direct", "gradio" or "chainlit"), `url` (of the program), `server` (the scripted server), `what` (a
method of Load), and the arguments of that method.
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
    """The jobs. All times are in seconds."""

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
        """Visitors with open pages, which are opened ten at a time."""
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
        """Time to the first text, for one visitor after the other. The first three are a warm-up."""
        await self._script(tokens=2, rate=100.0)
        durations = []
        for number in range(turns + 3):
            async with self._visitors(1) as (visitor,):
                updates = await _send(visitor)
            if number >= 3:
                durations.append(updates[0][0])
        return {"median": statistics.median(durations), "p90": sorted(durations)[int(0.9 * len(durations))]}

    async def arrivals(
        self, count: int, over: float, tokens: int, rate: float, pid: int = 0, profile: str = ""
    ) -> dict[str, float]:
        """`count` visitors send one message each, spread over `over` seconds.

        Completion times are divided by the ideal. `profile`: a file for a py-spy profile of the first two seconds.
        """
        await self._script(tokens=tokens, rate=rate)
        process = psutil.Process(pid) if pid else None
        replies: list[list[tuple[float, int]]] = []
        peak = 0.0

        async def chat(number: int, visitor: Visitor) -> None:
            await asyncio.sleep(over * number / count)
            with contextlib.suppress(TimeoutError, RuntimeError, OSError, aiohttp.ClientError):
                replies.append(await asyncio.wait_for(_send(visitor), GIVE_UP))

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
                await asyncio.sleep(1)  # py-spy takes that long to start
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
        """A reply in a conversation with this many messages of this many characters."""
        await self._script(tokens=tokens, rate=rate)
        history = [
            {"role": ("user", "assistant")[number % 2], "content": ("word " * length)[:length]}
            for number in range(messages)
        ]
        visitor = self._visitor(history)
        await visitor.open()
        if isinstance(visitor, GradioPage):
            parts = [{**item, "content": [{"type": "text", "text": item["content"]}]} for item in history]
            await visitor.remember([{**part, "metadata": None, "options": None} for part in parts])
        updates = await asyncio.wait_for(_send(visitor), GIVE_UP * 3)
        gaps = [later[0] - sooner[0] for sooner, later in itertools.pairwise(updates)]
        return {"whole": updates[-1][0], "characters": updates[-1][1], "gap": max(gaps), "updates": len(updates)}

    async def abort(self, how: str, wait: float, times: int) -> dict[str, float | None]:
        """Time from Stop, or from closing the tab, to the end of the server's request: the median, or None over 10 s.

        `wait`: how long the server waits before its first token. The abort is before that, or else during the reply.
        """
        durations: list[float | None] = []
        for _ in range(times):
            await self._script(tokens=3000, rate=30.0, wait=wait)
            started = asyncio.Event()
            async with self._visitors(1) as (visitor,):
                task = asyncio.create_task(visitor.send("hello", lambda _, started=started: started.set()))  # type: ignore[misc] # mypy cannot infer it
                if wait:
                    await asyncio.sleep(1.3)
                else:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(started.wait(), 10)
                    await asyncio.sleep(0.7)
                begin = time.monotonic()
                await (visitor.stop() if how == "stop" else visitor.leave())
                ended = await self._ended()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            durations.append(ended - begin if ended else None)
        finished = [seconds for seconds in durations if seconds is not None]
        return {"median": statistics.median(finished) if len(finished) == times else None}

    async def _ended(self) -> float | None:
        for _ in range(400):
            async with self._http.get(f"{self._server}/log") as answer:
                log = orjson.loads(await answer.read())
            if log and log[-1][2]:
                return float(log[-1][2])
            await asyncio.sleep(0.025)
        return None

    async def idle(self, count: int, seconds: float, pid: int) -> dict[str, float]:
        """The share of a core that open but unused pages cost, with their heartbeats."""
        process = psutil.Process(pid)
        async with self._visitors(count), contextlib.AsyncExitStack() as beating:
            for number in range(count):
                url = f"{self._url}/gradio_api/heartbeat/idle{number}"
                await beating.enter_async_context(self._http.get(url))
            await asyncio.sleep(2)
            before = _cpu(process)
            await asyncio.sleep(seconds)
            return {"share": (_cpu(process) - before) / seconds, "megabytes": process.memory_info().rss / 1e6}


async def _send(visitor: Visitor) -> list[tuple[float, int]]:
    """Send a message. Returns the updates of the reply: the time, and the number of characters by then."""
    updates: list[tuple[float, int]] = []
    started = time.monotonic()

    def note(length: int) -> None:
        if not updates or length != updates[-1][1]:
            updates.append((time.monotonic() - started, length))

    await visitor.send("hello", note)
    return updates


def _cpu(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


async def main(job: dict[str, Any]) -> None:
    unlimited = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    # Accepts cookies from IP addresses, as browsers do.
    jar = aiohttp.CookieJar(unsafe=True)
    timeout = aiohttp.ClientTimeout(total=GIVE_UP * 4)
    async with aiohttp.ClientSession(connector=unlimited, cookie_jar=jar, timeout=timeout, read_bufsize=2**22) as http:
        load = Load(http, job.pop("kind"), job.pop("url"), job.pop("server"))
        print(json.dumps(await getattr(load, job.pop("what"))(**job)))


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
