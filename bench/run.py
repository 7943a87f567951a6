"""Measure this app beside other chat UIs, all with one scripted server, and write bench/RESULTS.md: `make bench`.

It takes about twenty minutes on an otherwise idle machine. Each program runs alone, and is measured by simulated
visitors in one process (load.py) and in Chromium (browser.py). Nothing leaves 127.0.0.1. --resume continues an
interrupted run, --report only writes the tables of the last one.
"""

import collections
import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import browser
import startup
from programs import CHAINLIT, ROOT, Program, command, free_port, running, scripted_server

MEASURED = ROOT / ".venv" / "measured.json"
RESULTS = ROOT / "bench" / "RESULTS.md"
PROGRAMS = ("Chainlit", "gr.load_chat", "naive ChatInterface", "this app")
TOKENS, RATE = 300, 30.0
# The number of visitors, and the seconds over which they arrive.
ARRIVALS = ((1, 5.0), (10, 5.0), (50, 5.0), (100, 5.0), (100, 0.0), (200, 5.0), (300, 5.0), (400, 5.0), (600, 5.0))
CONVERSATION = {"messages": 200, "length": 800, "tokens": 2000, "rate": 200.0}
# Tokens for 100,000 characters, and for a tenth of them, to see whether the time grows linearly.
LONG, SHORT, LONG_RATE, CHARACTERS = 14_080, 1_408, 1000.0, 100_000
ABORTS = {("stop", 0.0): "Stop, mid-stream", ("leave", 0.0): "tab closed, mid-stream"}
ABORTS |= {("stop", 30.0): "Stop, before the first token", ("leave", 30.0): "tab closed, before the first token"}

OWNERS = {
    "Gradio": ("gradio", "gradio_client", "tomlkit", "safehttpx"),
    "its web server: FastAPI, Starlette, uvicorn, pydantic": ("fastapi", "starlette", "uvicorn", "pydantic"),
    "the Llama Stack client library": ("llama_stack_client",),
    "its HTTP client: httpx, httpcore, h11, anyio": ("httpx", "httpcore", "h11", "anyio", "sniffio", "certifi"),
    "this app": ("llama_ui",),
}

type Measured = dict[str, Any]


class Bench:
    """The measurements. `found` has the results of each program."""

    def __init__(self, server: str) -> None:
        self._server = server
        self.found: dict[str, Measured] = {}

    def direct(self) -> None:
        found: Measured = {"first": self._load("direct", "", "first_token", turns=40)}
        for count, over in ARRIVALS:
            found[f"{count} in {over:g} s"] = self._arrive("direct", "", count, over)
        found["history"] = self._load("direct", "", "history", **CONVERSATION)
        for name, tokens in (("long", LONG), ("short", SHORT)):
            found[name] = self._load("direct", "", "history", messages=0, length=0, tokens=tokens, rate=LONG_RATE)
        self.found["direct SSE"] = found

    def measure(self, name: str) -> None:
        port = free_port()
        with running(command(name, self._server, port), port, self._server) as program:
            kind = "chainlit" if name == "Chainlit" else "gradio"
            chainlit_or_gradio = browser.CHAINLIT if name == "Chainlit" else browser.GRADIO
            selectors = browser.APP if name == "this app" else chainlit_or_gradio
            found: Measured = {"first": self._load(kind, program.url, "first_token", turns=40)}
            found["idle"] = program.megabytes()
            found["enter"] = browser.enter_to_first_text(program.url, selectors, self._server, 15)
            found["busy"] = browser.busy_share(program.url, selectors, self._server, 2000, 200.0)
            for abort, wait in ABORTS:
                found[f"{abort} {wait:g}"] = self._load(kind, program.url, "abort", how=abort, wait=wait, times=2)
            if kind == "gradio":
                found["history"] = self._load(kind, program.url, "history", **CONVERSATION)
            if name == "this app":
                self._measure_app(program, found, selectors)
            self.found[name] = found
        self._measure_arrivals(name, kind, found)

    def _measure_app(self, program: Program, found: Measured, selectors: browser.Selectors) -> None:
        for length, tokens in (("long", LONG), ("short", SHORT)):
            job = {"messages": 0, "length": 0, "tokens": tokens, "rate": LONG_RATE}
            found[length] = self._load("gradio", program.url, "history", **job)
        found["long in Chromium"] = browser.long_reply(
            program.url, selectors, self._server, LONG, LONG_RATE, CHARACTERS
        )
        for query in ("", "?top_logprobs=5"):
            share = browser.busy_share(program.url, selectors, self._server, 4000, 50.0, query)
            found[f"busy, long{query}"] = share
        for count in (0, 200):
            found[f"idle {count}"] = self._load(
                "gradio", program.url, "idle", count=count, seconds=10, pid=program.process.pid
            )

    def _measure_arrivals(self, name: str, kind: str, found: Measured) -> None:
        """Each number of visitors gets a new process. A program that has failed gets no larger number."""
        for count, over in ARRIVALS:
            port = free_port()
            with running(command(name, self._server, port), port, self._server) as program:
                self._load(kind, program.url, "first_token", turns=2)
                result = self._arrive(kind, program.url, count, over, program.process.pid)
            found[f"{count} in {over:g} s"] = result
            if result["failures"]:
                return

    def _arrive(self, kind: str, url: str, count: int, over: float, pid: int = 0) -> Measured:
        return self._load(kind, url, "arrivals", count=count, over=over, tokens=TOKENS, rate=RATE, pid=pid)

    def _load(self, kind: str, url: str, what: str, **arguments: object) -> Measured:
        job = {"kind": kind, "url": url, "server": self._server, "what": what, **arguments}
        print(f"  {kind} {what} {arguments}", flush=True)
        load = [sys.executable, str(ROOT / "bench" / "load.py"), json.dumps(job)]
        done = subprocess.run(load, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        result: Measured = json.loads(done.stdout)
        return result


def profile_app(server: str) -> str:
    """Profile the app while a hundred messages arrive at once. Returns the share of each package as Markdown."""
    with tempfile.TemporaryDirectory() as folder, running(command("this app", server, 0), free_port()) as program:
        path = Path(folder) / "profile"
        job = {"kind": "gradio", "url": program.url, "server": server, "what": "arrivals", "count": 100, "over": 0.0}
        job |= {"tokens": 2, "rate": 1.0, "pid": program.process.pid, "profile": str(path)}
        subprocess.run([sys.executable, str(ROOT / "bench" / "load.py"), json.dumps(job)], check=True, timeout=300)
        samples = path.read_text().splitlines() if path.exists() else []
    shares: collections.Counter[str] = collections.Counter()
    for line in samples:
        stack, count = line.rsplit(" ", 1)
        if "uvicorn/server.py" in stack:  # the thread of the event loop
            shares[_owner(stack)] += int(count)
    if not shares:
        return "No profile: py-spy may not trace other processes."
    total = sum(shares.values())
    rows = [f"| {owner} | {count / total * 100:.0f} % |" for owner, count in shares.most_common()]
    return "\n".join(["| | share of the event loop's time |", "|---|---|", *rows])


def _owner(stack: str) -> str:
    """The owner of the innermost frame outside the standard library."""
    for frame in reversed([frame for frame in stack.split(";") if "uvicorn/server.py" not in frame]):
        for owner, packages in OWNERS.items():
            if any(f"({package}/" in frame for package in packages):
                return owner
    return "the event loop itself"


def report(
    found: dict[str, Measured], starts: dict[str, list[float]], bare: float, profile: str, stages: dict[str, float]
) -> str:
    """The text of bench/RESULTS.md."""
    return "\n\n".join(
        [
            "# Performance",
            "Written by `make bench`; do not edit. One run on one machine, all programs with the same scripted "
            f"server:\n{machine()}.",
            "## Targets",
            _targets(found, starts, bare),
            "## First text, memory, a busy page, a long conversation",
            _singles(found, bare),
            f"## Many visitors: {TOKENS} tokens each, at {RATE:g} per second",
            "Completion times divided by the ideal of ten seconds, including the wait for the first token. A visitor "
            "gives up after 60 seconds, and a program that failed one gets no larger number. CPU and memory are the "
            "program's. This app runs with `--max-visitors 600`.",
            _crowds(found),
            "## From Stop, or closing the tab, to the end of the server's request",
            _aborts(found),
            "## Start-up",
            startup.table(starts),
            "## A hundred messages at once: profile of the first two seconds",
            "Each message is two requests to Gradio (one joins its queue, one listens) and one to the Llama Stack "
            "server, all in one thread. Profile by py-spy:",
            profile,
            "## From Enter to the first text in the page",
            "The steps in this app's page. Before the first request the page draws the message, after the first byte "
            "of the stream the reply. The second request waits for the response to the first.",
            "\n".join(
                ["| | ms after Enter |", "|---|---|"] + [f"| {what} | {ms:.0f} |" for what, ms in stages.items()]
            ),
        ]
    )


# At most: median and slowest completion over ideal, median and slowest time to the first text in seconds.
CROWDS = {300: (1.03, 1.12, 0.1, 1.0), 400: (1.06, 1.20, 0.3, 1.5), 600: (None, None, None, 3.0)}


def _crowd_targets(app: Measured) -> list[tuple[str, float, float, str]]:
    rows: list[tuple[str, float, float, str]] = []
    names = {
        "median": "median",
        "slowest": "slowest",
        "first_median": "first text, median",
        "first_slowest": "first text, slowest",
    }
    for count, targets in CROWDS.items():
        result = app.get(f"{count} in 5 s", {"failures": count})
        for (key, name), most in zip(names.items(), targets, strict=True):
            if most is not None:
                form = "{:.2f} s" if key.startswith("first") else "{:.3f}"
                rows.append((f"{count} visitors over 5 s: {name}", most, result.get(key, math.inf), form))
        rows.append((f"{count} visitors over 5 s: failures", 0, result["failures"], "{:.0f}"))
    return rows


def _targets(found: dict[str, Measured], starts: dict[str, list[float]], bare: float) -> str:
    app, direct = found["this app"], found["direct SSE"]
    hundred, at_once, two_hundred = app["100 in 5 s"], app["100 in 0 s"], app["200 in 5 s"]
    mid = max(app["stop 0"]["median"] or 99, app["leave 0"]["median"] or 99)
    before = max(app["stop 30"]["median"] or 99, app["leave 30"]["median"] or 99)
    first = app["first"]["median"] - direct["first"]["median"]
    enter = app["enter"] - direct["first"]["median"]
    conversation = app["history"]["whole"] / direct["history"]["whole"]
    medians = [sorted(taken)[len(taken) // 2] for taken in starts.values()]
    growth = (app["long"]["whole"] / direct["long"]["whole"]) / (app["short"]["whole"] / direct["short"]["whole"])
    odds = app["busy, long?top_logprobs=5"]
    rows = [
        ("first token at the protocol, added over direct, median", 16, first * 1000, "{:.1f} ms"),
        ("Enter to first text in the page, added over direct, median", 55, enter * 1000, "{:.0f} ms"),
        ("100 visitors over 5 s: median completion over ideal", 1.03, hundred["median"], "{:.3f}"),
        ("100 visitors over 5 s: slowest", 1.05, hundred["slowest"], "{:.3f}"),
        ("200 visitors over 5 s: median", 1.06, two_hundred["median"], "{:.3f}"),
        ("200 visitors over 5 s: slowest", 1.12, two_hundred["slowest"], "{:.3f}"),
        ("200 visitors over 5 s: failures", 0, two_hundred["failures"], "{:.0f}"),
        (
            "200 visitors over 5 s: CPU for each token, all in",
            130,
            two_hundred["cpu"] / 200 / TOKENS * 1e6,
            "{:.0f} µs",
        ),
        *_crowd_targets(app),
        ("100 visitors at once: slowest", 1.06, at_once["slowest"], "{:.3f}"),
        ("p95 gap between visible updates, 100 visitors", 400, hundred["gap_p95"] * 1000, "{:.0f} ms"),
        ("200 messages of history, 200 tokens/s: completion over direct", 1.1, conversation, "{:.3f}"),
        ("browser's main thread busy at 200 tokens/s", 30, app["busy"] * 100, "{:.0f} %"),
        ("the same for 4,000 tokens with probabilities, at 50 tokens/s", 40, odds * 100, "{:.0f} %"),
        ("and above that without, in points", 10, (odds - app["busy, long"]) * 100, "{:.0f}"),
        ("Stop or closed tab to the end of the request, mid-stream", 100, mid * 1000, "{:.0f} ms"),
        ("Stop or closed tab to the end, before the first token", 600, before * 1000, "{:.0f} ms"),
        ("memory over bare Gradio, idle", 1.35, app["idle"] / bare, "{:.2f}"),
        ("start over bare Gradio's, with the local stack", 1.3, medians[2] / medians[0], "{:.2f}"),
        ("100,000 characters: completion over direct", 1.1, app["long"]["whole"] / direct["long"]["whole"], "{:.3f}"),
        ("the same over that of 10,000 characters (1: linear)", 1.1, growth, "{:.3f}"),
        ("100,000 characters: longest time without an update", 1000, app["long"]["gap"] * 1000, "{:.0f} ms"),
        ("100,000 characters in Chromium: completion over ideal", 1.1, app["long in Chromium"], "{:.3f}"),
    ]
    lines = ["| | at most | measured | |", "|---|---|---|---|"]
    for what, most, value, form in rows:
        lines.append(f"| {what} | {most} | {form.format(value)} | {'met' if value <= most else '**missed**'} |")
    idle = [app[f"idle {count}"] for count in (0, 200)]
    lines.append(f"| CPU of the app, idle: no visitor, 200 open pages | | {_percents(idle)} of a core | |")
    return "\n".join(lines)


def _percents(idle: list[Measured]) -> str:
    return ", ".join(f"{found['share'] * 100:.1f} %" for found in idle)


def _singles(found: dict[str, Measured], bare: float) -> str:
    lines = [
        "| | first token added, ms | Enter to first text added, ms | memory, MB | page busy at 200 tokens/s "
        "| 200 messages, 200 tokens/s: over direct, updates |",
        "|---|---|---|---|---|---|",
    ]
    direct = found["direct SSE"]
    base = direct["first"]["median"]
    for name in PROGRAMS:
        one = found[name]
        long = one.get("history")
        conversation = f"{long['whole'] / direct['history']['whole']:.2f}, {long['updates']}" if long else "–"
        lines.append(
            f"| {name} | {(one['first']['median'] - base) * 1000:.1f} | {(one['enter'] - base) * 1000:.0f} "
            f"| {one['idle']:.0f} | {one['busy'] * 100:.0f} % | {conversation} |"
        )
    lines.append(f"| bare `gr.ChatInterface(echo)` | | | {bare:.0f} | | |")
    lines.append(f"\nDirect: first token after {base * 1000:.1f} ms.")
    return "\n".join(lines)


def _crowds(found: dict[str, Measured]) -> str:
    lines = [
        "| visitors | | median | slowest | first text: median, slowest, s | p95 gap, ms | updates | CPU, s | peak, MB "
        "| failures |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for count, over in ARRIVALS:
        for name in ("direct SSE", *PROGRAMS):
            if not (one := found[name].get(f"{count} in {over:g} s")):
                continue
            arriving = f"{count} over {over:g} s" if over else f"{count} at once"
            lines.append(
                f"| {arriving} | {name} | {one['median']:.3f} | {one['slowest']:.3f} "
                f"| {one['first_median']:.2f}, {one['first_slowest']:.2f} | {one['gap_p95'] * 1000:.0f} "
                f"| {one['updates']:.0f} | {one['cpu']:.1f} | {one['peak']:.0f} | {one['failures']} |"
            )
    return "\n".join(lines)


def _aborts(found: dict[str, Measured]) -> str:
    lines = [f"| | {' | '.join(ABORTS.values())} |", "|---|---|---|---|---|"]
    for name in PROGRAMS:
        cells = []
        for how, wait in ABORTS:
            seconds = found[name][f"{how} {wait:g}"]["median"]
            cells.append("not within 10 s" if seconds is None else f"{seconds * 1000:.0f} ms")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def machine() -> str:
    """Date, processor, system and versions."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    chainlit = subprocess.run([str(CHAINLIT), "--version"], capture_output=True, text=True, check=False)
    processor = found[1] if found else platform.processor() or platform.machine()
    packages = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("gradio", "llama-stack-client", "uvloop")
    )
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {processor}, {os.cpu_count()} cores, {platform.system()}; "
        f"Python {platform.python_version()}, {packages}, chainlit {chainlit.stdout.strip().split()[-1]}; "
        f"app {revision.stdout.strip() or 'of unknown revision'}"
    )


def measure_all(measured: Measured) -> Measured:
    """Measure what is missing. Saves the results after each program, for --resume and --report."""
    with scripted_server() as server:
        bench = Bench(server)
        bench.found = measured.setdefault("found", bench.found)
        if not bench.found:
            bench.direct()
        for name in reversed(PROGRAMS):
            if name not in bench.found:
                print(name, flush=True)
                bench.measure(name)
                MEASURED.write_text(json.dumps(measured))
        measured["profile"] = profile_app(server)
        with running(command("this app", server, 0), free_port()) as program:
            measured["stages"] = browser.stages(program.url, browser.APP, server, 15)
    with running(command("bare", "", 0), free_port()) as program, browser.page(program.url, browser.GRADIO):
        measured["bare"] = program.megabytes()
    print("start-up", flush=True)
    measured["starts"] = startup.measure(3)
    MEASURED.write_text(json.dumps(measured))
    return measured


def main() -> None:
    measured: Measured = {}
    if "--report" in sys.argv or "--resume" in sys.argv:
        measured = json.loads(MEASURED.read_text())
    if "--report" not in sys.argv:
        measured = measure_all(measured)
    RESULTS.write_text(report(**measured) + "\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
