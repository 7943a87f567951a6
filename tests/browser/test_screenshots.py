"""The screenshots: `make screenshot` writes all of them to screenshots/, and those of the documents to docs/."""

import itertools
import re
import shutil
import threading
import time
from collections.abc import Callable
from typing import Literal

import PIL.Image
import pytest
from playwright.sync_api import Browser, ViewportSize, expect

from tests.support import SECONDS
from tests.support.app_process import ROOT, AppProcess
from tests.support.chromium import NARROW, WIDE, Chat, file, open_chat, to_png
from tests.support.fake_stack import FakeStack, Hold

pytestmark = [pytest.mark.browser, pytest.mark.screenshots]
ALL, DOCUMENTS = ROOT / "screenshots", ROOT / "docs" / "screenshots"
IN_DOCUMENTS = ("first-visit-1280", "code-1280", "compare-1280-dark", "thinking-1280-dark")
SIZES = {
    "390": NARROW,
    "768": ViewportSize(width=768, height=1024),
    "1280": WIDE,
    "1920": ViewportSize(width=1920, height=1080),
}
CORNERS = PIL.Image.frombytes("RGB", (2, 2), bytes.fromhex("ff0000 00ff00 0000ff ffff00"))
MOON = "The moon hangs low over the hill, a lamp for late travellers.\nIt asks for nothing, and lights the road."
VERSE = (
    "The moon, fair lady, hangs low o'er the hill, a lamp for travellers.\nShe asks for naught, and lights the road."
)
RECURSION = """Recursion is when a function calls **itself** on a smaller part of the problem, until that is trivial.

```python
def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial(n - 1)
```

| n | factorial(n) | calls |
|---|---|---|
| 1 | 1 | 1 |
| 5 | 120 | 5 |
"""


def take(chat: Chat, name: str) -> None:
    chat.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    chat.page.wait_for_timeout(600)  # for animations and syntax colours, which no event announces
    ALL.mkdir(exist_ok=True)
    chat.page.screenshot(path=ALL / f"{name}.png")
    if name in IN_DOCUMENTS:
        shutil.copy(ALL / f"{name}.png", DOCUMENTS)


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshots(
    browser: Browser, url: str, stack: FakeStack, width: str, scheme: Literal["light", "dark"]
) -> None:
    def name(state: str) -> str:
        return f"{state}-{width}{'-dark' * (scheme == 'dark')}"

    with open_chat(browser, url, SIZES[width], color_scheme=scheme) as chat:
        expect(chat.status.locator(".ready")).to_be_visible()
        take(chat, name("first-visit"))
        enqueue_slowly(stack, RECURSION)
        chat.ask("Explain recursion in programming in simple terms.")
        take(chat, name("conversation"))
        for tab in ("Settings", "Code", "Time"):
            chat.open_tab(tab)
            if tab == "Code":
                chat.close_panel("inspect")
                chat.press("Code of this reply")
                expect(chat.page.locator("#code-python pre")).to_contain_text("Explain recursion")
            take(chat, name(tab.lower()))
        chat.close_panel("inspect")
        enqueue_slowly(stack, MOON)
        chat.start_new_chat()
        chat.ask("hello world, write me a 2 sentence poem about the moon")
        enqueue_slowly(stack, VERSE)
        chat.compare("Shakespeare")
        expect(chat.page.locator("#second-answer .bot.message")).to_contain_text("lights the road")
        take(chat, name("compare"))
        chat.page.get_by_label("Differences").check()
        expect(chat.page.locator("#differences ins").last).to_be_visible()
        take(chat, name("differences"))
        chat.button("Close the comparison").click()
        texts = ("The user ", "shows a picture.", " Four corners.")
        reasoning = [{"choices": [{"delta": {"reasoning_content": text}}]} for text in texts]
        stack.enqueue(*reasoning, thinking := Hold(), "Red, green, blue and yellow.\n")
        chat.start_new_chat()
        chat.add_files(file("corners.png", to_png(CORNERS.resize((600, 400), PIL.Image.Resampling.NEAREST))))
        chat.expect_images(1)
        chat.send("Which colours are in the corners?")
        expect(chat.page.locator(".thought-group")).to_contain_text("Four corners.")
        take(chat, name("thinking"))
        thinking.release.set()
        chat.wait_until_idle()
        stack.enqueue(status=500, body={"detail": "The engine is out of memory."})
        chat.ask("And in the middle?")
        take(chat, name("error"))


def enqueue_slowly(stack: FakeStack, text: str) -> None:
    """Enqueue a reply at the speed of a model, so that the times in the screenshots look real."""
    words = re.findall(r"\S+\s*", text)
    holds = [Hold() for _ in words]
    stack.enqueue(*itertools.chain(*zip(holds, words, strict=True)))
    stack.replies[-1].items.append({"choices": [], "usage": {"prompt_tokens": 32, "completion_tokens": len(words)}})

    def release() -> None:
        for hold in holds:
            hold.reached.wait(SECONDS)
            time.sleep(0.25 if hold is holds[0] else 0.03)
            hold.release.set()

    threading.Thread(target=release, daemon=True).start()


@pytest.mark.real_stack
def test_screenshots_of_the_readme(browser: Browser, start_app: Callable[..., AppProcess]) -> None:
    app = start_app()
    for name, size, scheme in (("screenshot", WIDE, "light"), ("screenshot-phone", NARROW, "dark")):
        with open_chat(browser, app.url, size, color_scheme=scheme) as chat:
            expect(chat.status.locator(".ready")).to_contain_text("Local stack")
            if size == NARROW:
                take(chat, f"../docs/{name}")
                continue
            chat.set_sampling("Max tokens", "100")
            chat.close_panel("inspect")
            chat.page.get_by_text("Write a two-sentence poem about llama.").click()
            expect(chat.conversation.get_by_label("Retry", exact=True)).to_be_enabled()
            chat.wait_until_idle()
            take(chat, f"../docs/{name}")
