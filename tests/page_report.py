"""Measure the page in Chromium with a scripted server, and write docs/page-report.md: `make page-report`.

It exits with status 1 if a limit is missed. The measures and their limits are in tests/support/page_measures.py, the
selectors and states in tests/support/page_states.py; tests/browser/test_page_report.py asserts the same limits, but
for the times, which depend on the machine.
"""

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from playwright.sync_api import Browser, Error, expect

from tests.support.app_process import ROOT, AppProcess
from tests.support.chromium import launch
from tests.support.fake_stack import FakeStack
from tests.support.heavy_replies import MAX_BUSY, SHOWN_AS_MARKDOWN, SHOWN_AS_TEXT, measure_busy
from tests.support.page_measures import (
    AXE_TAGS,
    LOADS,
    MAX_SHIFT,
    SCHEMES,
    SCREENS,
    WIDTHS,
    Audit,
    Room,
    Shift,
    audit,
    measure_room,
    measure_shifts,
)
from tests.support.page_states import STATES

REPORT = ROOT / "docs" / "page-report.md"
PATIENCE = 30  # seconds for a part that the page may lack
TEXT = """# The page, measured

Written by `make page-report`; do not edit. One run in headless Chromium, with a scripted server:
{machine}.

Not tried: a real phone with its keyboard, a screen reader, other browsers.

## Room for the conversation

The visible part of the conversation's column, margins included, as a share of the screen, and whether the composer is
on the screen without scrolling.

{room}

## Layout shift on load

The sum of all shifts until the fonts and the conversation are drawn; the worst of {loads} loads.

{shifts}

## Replies that take long to draw

The longest time for which the page is busy at once while a reply arrives whole, or in eight chunks; the best of three,
in milliseconds. The replies are in tests/support/heavy_replies.py.

{busy}

## Accessibility

Broken rules of axe-core in each state of the page, with the tags {tags}.

{accessibility}
"""
VARIANTS = [(size, scheme) for size in WIDTHS for scheme in SCHEMES]


class Report:
    """Measures everything. `missed` has a line for each limit that is missed, or could not be measured."""

    def __init__(self, browser: Browser, url: str, stack: FakeStack) -> None:
        self._browser, self._url, self._stack = browser, url, stack
        self.missed: list[str] = []
        self.axe_version = "?"

    def room(self) -> str:
        rows = []
        for screen in SCREENS:
            found = self._try(
                screen.name, lambda screen=screen: measure_room(self._browser, self._url, self._stack, screen)
            )
            if isinstance(found, Room):
                misses = found.misses(screen)
                self.missed += [f"{screen.name}: {miss}" for miss in misses]
                seen = [found.composer_at_first, found.composer_after_replies]
                shares = [f"{found.share:.1f} %", *("yes" if composer else "**no**" for composer in seen)]
                rows.append((screen.name, f"{screen.at_least} %", *shares, _verdict(not misses)))
            else:
                rows.append((screen.name, f"{screen.at_least} %", found, "", "", _verdict(False)))
        titles = ("viewport", "at least", "measured", "composer: first visit", "after replies", "")
        return table(titles, rows)

    def shifts(self) -> str:
        rows = []
        for size in WIDTHS:
            name = f"layout shift at {size['width']}"
            found = self._try(name, lambda size=size: measure_shifts(self._browser, self._url, self._stack, size))
            for page, shift in found.items() if isinstance(found, dict) else [("both pages", found)]:
                met = isinstance(shift, Shift) and shift.value < MAX_SHIFT
                value, largest = (f"{shift.value:.3f}", shift.largest) if isinstance(shift, Shift) else (shift, "")
                if not met and isinstance(shift, Shift):
                    self.missed.append(f"{name}, {page}: {value} ({largest})")
                viewport = f"{size['width']}×{size['height']}"
                rows.append((page, viewport, f"{MAX_SHIFT:g}", value, largest, _verdict(met)))
        return table(("page", "viewport", "below", "measured", "what moved most", ""), rows)

    def busy(self) -> str:
        rows = []
        for name, text in (SHOWN_AS_TEXT | SHOWN_AS_MARKDOWN).items():
            found = [
                self._try(
                    f"reply of {name}, chunks: {chunks}",
                    lambda chunks=chunks, text=text: measure_busy(self._browser, self._url, self._stack, text, chunks),
                )
                for chunks in (1, 8)
            ]
            met = all(isinstance(value, int) and value <= MAX_BUSY for value in found)
            if not met:
                self.missed.append(f"reply of {name}: {found} ms")
            rows.append((name, MAX_BUSY, *found, _verdict(met)))
        return table(("reply", "at most", "whole", "in chunks", ""), rows)

    def accessibility(self) -> str:
        rows, broken = [], defaultdict(list)
        for state in STATES:
            cells = []
            for size, scheme in VARIANTS:
                where = f"{state.name}, {size['width']} {scheme}"
                arguments = (self._browser, self._url, self._stack, state, size, scheme)
                found = self._try(where, lambda arguments=arguments: audit(*arguments))
                if isinstance(found, Audit):
                    self.axe_version = found.axe_version
                    for violation in found.violations:
                        broken[violation.rule].append((where, violation))
                        self.missed.append(f"{where}: {violation.rule} {violation.target}")
                    cells.append(f"**{len(found.violations)}**" if found.violations else "0")
                else:
                    cells.append(found)
            rows.append((state.name, *cells))
        titles = ("state", *(f"{size['width']} {scheme}" for size, scheme in VARIANTS))
        return f"{table(titles, rows)}\n\n{_violations(broken)}"

    def _try[Found](self, what: str, measure: Callable[[], Found]) -> Found | str:
        """What was measured, or why it could not be."""
        print(f"  {what}", flush=True)
        self._stack.reset()
        try:
            return measure()
        except (AssertionError, Error) as error:
            reason = str(error).splitlines()[0]
            self.missed.append(f"{what}: {reason}")
            return f"**{reason}**"


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def _violations(broken: dict[str, list]) -> str:
    if not broken:
        return "No rule is broken."
    rows = []
    for rule, places in sorted(broken.items()):
        states = sorted({where.partition(",")[0] for where, _ in places})
        first = places[0][1]
        most = max(violation.count for _, violation in places)
        targets = dict.fromkeys(f"`{violation.target}`" for _, violation in places)
        rows.append((rule, first.impact, most, f"{len(places)}: {', '.join(states)}", "<br>".join(targets)))
    return table(("rule", "impact", "elements at most", "in how many of the above", "first element"), rows)


def table(titles: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(titles)]
    lines += [["---"] * len(lines[0])]
    lines += [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(browser: Browser, axe_version: str) -> str:
    """Date, processor, system and versions."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    command = ["git", "describe", "--always", "--dirty"]
    revision = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("gradio", "playwright"))
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {found[1] if found else platform.machine()}, "
        f"{os.cpu_count()} cores, {platform.system()}; Chromium {browser.version}, axe-core {axe_version}, {packages}; "
        f"app {revision or 'of unknown revision'}"
    )


def main() -> int:
    expect.set_options(timeout=PATIENCE * 1000)
    with (
        FakeStack() as stack,
        tempfile.TemporaryDirectory() as folder,
        AppProcess(("--base-url", stack.url), {}, Path(folder)) as app,
        launch() as browser,
    ):
        report = Report(browser, app.url, stack)
        room, shifts, busy, accessibility = report.room(), report.shifts(), report.busy(), report.accessibility()
        text = TEXT.format(
            machine=machine(browser, report.axe_version),
            room=room,
            loads=LOADS,
            shifts=shifts,
            busy=busy,
            tags=", ".join(AXE_TAGS),
            accessibility=accessibility,
        )
    REPORT.write_text(text, encoding="utf-8")
    print(f"{REPORT.relative_to(ROOT)}: {len(report.missed)} limits missed")
    for line in report.missed:
        print(f"  {line}")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
