"""Measures of the page, with their limits: room for the conversation, layout shift on load, and axe-core's rules."""

from dataclasses import dataclass

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize

from tests.support.chromium import NARROW, WIDE, Chat
from tests.support.fake_stack import FakeStack
from tests.support.page_states import (
    CHATS,
    CHATS_TOGGLE,
    COLUMN,
    COMPOSER,
    COMPOSER_BOX,
    CONVERSATION,
    INSPECT,
    INSPECT_TOGGLE,
    Scheme,
    State,
    add_models,
    converse,
    expect_conversation,
    set_panel,
    settle,
    visit,
)


@dataclass(frozen=True)
class Screen:
    """A size of the viewport with its open panels, and the least share of it for the conversation, in percent."""

    width: int
    height: int
    at_least: int
    chats_open: bool = False
    inspect_open: bool = False

    @property
    def size(self) -> ViewportSize:
        return ViewportSize(width=self.width, height=self.height)

    @property
    def name(self) -> str:
        panels = [name for name, is_open in (("chats", self.chats_open), ("Inspect", self.inspect_open)) if is_open]
        return f"{self.width}×{self.height}, {' and '.join(panels) or 'no panel'} open"


SCREENS = (
    Screen(390, 844, at_least=75),
    Screen(390, 664, at_least=70),  # a phone with the browser's bars
    Screen(844, 390, at_least=50),  # a phone held sideways
    Screen(640, 430, at_least=50),  # a window of 1280×860, enlarged to 200 %
    Screen(768, 1024, at_least=75),
    Screen(1280, 860, at_least=67, chats_open=True),
    Screen(1920, 1080, at_least=68, chats_open=True),
    Screen(1920, 1080, at_least=58, chats_open=True, inspect_open=True),
)
MAX_SHIFT = 0.03  # the sum of all layout shifts on load: not less than the "cumulative layout shift" of web vitals
LOADS = 3  # of which the worst counts
WIDTHS = (NARROW, WIDE)  # where layout shift and accessibility are measured
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
AXE_TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")

# The margins beside the messages count; what the composer hides, where it lies over the conversation, does not.
SHARE = """([conversation, column, composer]) => {
  const box = document.querySelector(conversation).getBoundingClientRect();
  const sides = document.querySelector(column).getBoundingClientRect();
  const below = document.querySelector(composer).getBoundingClientRect().top;
  const bottom = Math.min(box.bottom, innerHeight, below > box.top ? below : Infinity);
  const height = Math.max(0, bottom - Math.max(box.top, 0));
  const width = Math.max(0, Math.min(sides.right, innerWidth) - Math.max(sides.left, 0));
  return 100 * height * width / (innerWidth * innerHeight);
}"""
COMPOSER_VISIBLE = """(selector) => {
  const box = document.querySelector(selector).getBoundingClientRect();
  const above = document.elementFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2);
  return box.width > 0 && box.height > 0 && box.left >= 0 && box.top >= 0 && box.right <= innerWidth
    && box.bottom <= innerHeight && Boolean(above?.closest(selector));
}"""


@dataclass(frozen=True)
class Room:
    """The conversation's share of the screen in percent, and whether the composer is whole on the first screen."""

    share: float
    composer_at_first: bool
    composer_after_replies: bool

    def misses(self, screen: Screen) -> list[str]:
        found = [f"share {self.share:.1f} %, not {screen.at_least} %"] if self.share < screen.at_least else []
        found += [] if self.composer_at_first else ["the composer is not on the first screen"]
        found += [] if self.composer_after_replies else ["the composer is not on the screen after replies"]
        return found


def measure_room(browser: Browser, url: str, stack: FakeStack, screen: Screen) -> Room:
    with visit(browser, url, screen.size) as chat:
        settle(chat.page)
        at_first = bool(chat.page.evaluate(COMPOSER_VISIBLE, COMPOSER_BOX))
        converse(chat, stack)
        set_panel(chat.page, CHATS, CHATS_TOGGLE, screen.chats_open)
        set_panel(chat.page, INSPECT, INSPECT_TOGGLE, screen.inspect_open)
        chat.page.evaluate("scrollTo(0, 0)")
        share = float(chat.page.evaluate(SHARE, [CONVERSATION, COLUMN, COMPOSER]))
        return Room(share, at_first, bool(chat.page.evaluate(COMPOSER_VISIBLE, COMPOSER_BOX)))


@dataclass(frozen=True)
class Shift:
    """The layout shift of one load, and the element that moved most."""

    value: float
    largest: str


def measure_shifts(browser: Browser, url: str, stack: FakeStack, size: ViewportSize) -> dict[str, Shift]:
    """On load, of an empty page and of one that opens a saved conversation: the worst of some loads."""
    empty, saved = [], []
    for _ in range(LOADS):
        with visit(browser, url, size, reduced_motion=False) as chat:
            settle(chat.page)
            empty.append(_shift(chat.page))
    with visit(browser, url, size, reduced_motion=False) as chat:
        converse(chat, stack)
        for _ in range(LOADS):
            chat.page.reload()
            expect_conversation(chat)
            saved.append(_shift(chat.page))
    worst = [max(shifts, key=lambda shift: shift.value) for shifts in (empty, saved)]
    return dict(zip(("empty page", "saved conversation"), worst, strict=True))


def _shift(page: Page) -> Shift:
    watch = page.evaluate("pageWatch")
    largest = max(watch["shifts"], default=(0, "nothing"))
    return Shift(float(watch["shift"]), str(largest[1]))


@dataclass(frozen=True)
class Violation:
    """A broken rule of axe-core in one state of the page. `target` is a selector of the first element."""

    rule: str
    impact: str
    count: int
    target: str


@dataclass(frozen=True)
class Audit:
    """What axe-core found in one state of the page."""

    violations: list[Violation]
    axe_version: str


def audit(browser: Browser, url: str, stack: FakeStack, state: State, size: ViewportSize, scheme: Scheme) -> Audit:
    """Check one state with the rules of WCAG 2.2 AA. Fails with AssertionError if the page cannot get there."""
    add_models(stack)
    with visit(browser, url, size, scheme) as chat:
        state.reach(chat, stack)
        settle(chat.page)
        return run_axe(chat)


def run_axe(chat: Chat) -> Audit:
    options = {"runOnly": {"type": "tag", "values": AXE_TAGS}, "resultTypes": ["violations"]}
    found = Axe().run(chat.page, options=options).response
    violations = [
        Violation(one["id"], one["impact"], len(one["nodes"]), " ".join(map(str, one["nodes"][0]["target"])))
        for one in found["violations"]
    ]
    return Audit(violations, found["testEngine"]["version"])
