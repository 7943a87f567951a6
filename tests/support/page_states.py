"""The states of the page that are measured: selectors, and how a visitor reaches each state."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from tests.support.chromium import Chat
from tests.support.fake_stack import FakeStack

# The parts of the page.
COMPOSER, COMPOSER_BOX = "#message", "#message textarea"
CONVERSATION, COLUMN = "#conversation", "#chat"
CHATS, CHATS_TOGGLE = "#chats", "#chats-toggle"
INSPECT, INSPECT_TOGGLE = "#inspect", "#inspect-toggle"
STATUS, CHECK_RESULTS = "#status", "#check-results li"
MODEL, MENU = "#model-button", "#menu-button"
COMPARE, COMPARE_BUTTON = "#compare", 'role=button[name="Compare this reply"]'
THOUGHT = f"{CONVERSATION} .thought-group"

type Scheme = Literal["light", "dark"]

# Runs before the page's own scripts. `pageWatch` has the layout shift so far, its largest shifts, and when the page
# last changed.
WATCH = """
window.pageWatch = {shift: 0, shifts: [], changed: 0};
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    pageWatch.shift += entry.value;
    const nodes = entry.sources.map(({node}) => node?.id ? "#" + node.id : node?.className || node?.nodeName || "?");
    pageWatch.shifts.push([entry.value, String(nodes[0] ?? "?")]);
    pageWatch.changed = performance.now();
  }
}).observe({type: "layout-shift", buffered: true});
new MutationObserver(() => { pageWatch.changed = performance.now(); }).observe(
  document, {childList: true, subtree: true, characterData: true, attributes: true});
"""
# Fonts are loaded, transitions have ended, and nothing has changed for half a second.
SETTLED = """() => document.fonts.status === "loaded" && performance.now() - pageWatch.changed > 500
  && document.getAnimations().every((one) => one.playState !== "running"
     || one.effect.getComputedTiming().endTime === Infinity)"""
IN_VIEW = """(selector) => {
  const element = document.querySelector(selector);
  if (!element?.checkVisibility({visibilityProperty: true, opacityProperty: true})) return false;
  const box = element.getBoundingClientRect();
  return box.width > 0 && box.height > 0 && box.right > 0 && box.left < innerWidth && box.bottom > 0
    && box.top < innerHeight;
}"""

COUNT_VISIBLE = "() => [...document.querySelectorAll('body *')].filter((element) => element.checkVisibility()).length"

THOUGHTS = ("The user wants a definition. ", "A base case matters, so I mention it. ", "Code helps, and a table.")
LONG_REPLY = """## Recursion

A function is *recursive* if it calls itself. It needs

1. a **base case**, which ends it, and
2. a step towards it. See [the guide](https://example.com/guide).

```python
def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial(n - 1)
```

| n | factorial |
|---|---|
| 3 | 6 |
| 4 | 24 |

> To understand recursion, you must first understand recursion.
"""
SHORT_REPLY = "With `math.factorial(20)`, or with a loop."
FAILURE = "The engine is out of memory."
MODELS = [f"fake/model-{number}" for number in range(2, 41)]  # enough to compare and to scroll


def add_models(stack: FakeStack) -> None:
    stack.models += [stack.models[0] | {"id": name} for name in MODELS]


@contextmanager
def visit(
    browser: Browser, url: str, size: ViewportSize, scheme: Scheme = "light", reduced_motion: bool = True
) -> Iterator[Chat]:
    """The page of a new visitor, which is watched from its start."""
    motion: Literal["reduce", "no-preference"] = "reduce" if reduced_motion else "no-preference"
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion=motion)
    context.add_init_script(WATCH)
    try:
        yield Chat(context.new_page(), url)
    finally:
        context.close()


def settle(page: Page) -> None:
    """Wait until the page has been drawn."""
    page.wait_for_function(SETTLED)


def part(page: Page, selector: str) -> Locator:
    """What the page has to have, once it has settled. Fails at once without it."""
    settle(page)
    found = page.locator(selector)
    assert found.count(), f"the page has no {selector}"
    return found.last


def set_panel(page: Page, panel: str, toggle: str, is_open: bool) -> None:
    """Open or close a panel if it is not."""
    settle(page)
    if page.evaluate(IN_VIEW, panel) != is_open:
        part(page, toggle).click()
        settle(page)
        assert page.evaluate(IN_VIEW, panel) is is_open, f"{toggle} does not {'open' if is_open else 'close'} {panel}"


def converse(chat: Chat, stack: FakeStack) -> None:
    """Two messages, with a long reply after thinking and a short one."""
    thoughts = [{"choices": [{"delta": {"reasoning_content": text}}]} for text in THOUGHTS]
    stack.enqueue(*thoughts, *re.findall(r"\S+\s*", LONG_REPLY))
    chat.ask("What is recursion?")
    stack.enqueue(SHORT_REPLY)
    chat.ask("And without writing it myself?")
    expect_conversation(chat)


def expect_conversation(chat: Chat) -> None:
    """Wait until the conversation of `converse` is drawn, with its table and code."""
    expect(chat.conversation.locator("td")).to_have_count(4)
    expect(chat.conversation).to_contain_text("math.factorial(20)")
    settle(chat.page)


def _first_visit(chat: Chat, stack: FakeStack) -> None: ...


def _error(chat: Chat, stack: FakeStack) -> None:
    converse(chat, stack)
    stack.enqueue(status=500, body={"detail": FAILURE})
    chat.ask("And in one line?")
    expect(chat.conversation).to_contain_text(FAILURE)


def _thinking_open(chat: Chat, stack: FakeStack) -> None:
    converse(chat, stack)
    text = chat.conversation.get_by_text(THOUGHTS[-1]).first
    if not text.is_visible():
        part(chat.page, THOUGHT).get_by_role("button").first.click()
    expect(text).to_be_visible()


def _chats(chat: Chat, stack: FakeStack) -> None:
    converse(chat, stack)
    set_panel(chat.page, CHATS, CHATS_TOGGLE, is_open=True)


def _inspect(tab: str) -> Callable[[Chat, FakeStack], None]:
    def reach(chat: Chat, stack: FakeStack) -> None:
        converse(chat, stack)
        set_panel(chat.page, INSPECT, INSPECT_TOGGLE, is_open=True)
        button = chat.page.locator(INSPECT).get_by_role("tab", name=tab, exact=True)
        expect(button).to_be_visible()
        button.click()
        expect(button).to_have_attribute("aria-selected", "true")

    return reach


def _connection(chat: Chat, stack: FakeStack) -> None:
    status = part(chat.page, STATUS)
    status.get_by_role("button").or_(status).last.click()
    expect(chat.page.locator(CHECK_RESULTS).last).to_be_visible()


def _compare(chat: Chat, stack: FakeStack) -> None:
    converse(chat, stack)
    part(chat.page, COMPARE_BUTTON).click()
    chat.page.get_by_role("option", name="Same again").click()
    settle(chat.page)
    assert chat.page.evaluate(IN_VIEW, COMPARE), f"{COMPARE_BUTTON} does not open {COMPARE}"


def _popover(button: str) -> Callable[[Chat, FakeStack], None]:
    def reach(chat: Chat, stack: FakeStack) -> None:
        closed = part(chat.page, button)
        before = chat.page.evaluate(COUNT_VISIBLE)
        closed.click()
        settle(chat.page)
        assert chat.page.evaluate(COUNT_VISIBLE) > before, f"{button} opens nothing"

    return reach


@dataclass(frozen=True)
class State:
    """What a visitor sees after `reach`, which fails with AssertionError if the page lacks a part that it needs."""

    name: str
    reach: Callable[[Chat, FakeStack], None]


STATES = (
    State("first visit", _first_visit),
    State("after replies", converse),
    State("error", _error),
    State("thinking open", _thinking_open),
    State("list of chats", _chats),
    State("Inspect: Settings", _inspect("Settings")),
    State("Inspect: Code", _inspect("Code")),
    State("Inspect: Time", _inspect("Time")),
    State("connection", _connection),
    State("comparison", _compare),
    State("model picker", _popover(MODEL)),
    State("menu", _popover(MENU)),
)
