"""The screenshots in docs/: `make screenshot` rewrites them."""

import itertools
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import PIL.Image
import pytest
from playwright.sync_api import Browser, expect

from tests.support import SECONDS
from tests.support.app_process import ROOT, AppProcess
from tests.support.chromium import NARROW, WIDE, Chat, file, open_chat, to_png
from tests.support.fake_stack import FakeStack, Hold

pytestmark = [pytest.mark.browser, pytest.mark.screenshots]
CORNERS = PIL.Image.frombytes("RGB", (2, 2), bytes.fromhex("ff0000 00ff00 0000ff ffff00"))
MOON = "The moon hangs low over the hill, a lamp for late travellers.\nIt asks for nothing, and lights the road."
VERSE = (
    "The moon, fair lady, hangs low o'er the hill, a lamp for travellers.\nShe asks for naught, and lights the road."
)
CODE = "```python\ndef corners(image: Image) -> list[str]:\n    return [name(p) for p in image]\n```\n\n"
TABLE = "| Corner | Colour |\n|---|---|\n| top left | red |\n| bottom right | yellow |\n"


def take(chat: Chat, name: str) -> None:
    chat.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    chat.page.wait_for_timeout(600)  # for animations and syntax colours, which no event announces
    chat.page.screenshot(path=ROOT / "docs" / f"{name}.png")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshots_of_a_conversation_and_the_tabs(
    browser: Browser, url: str, stack: FakeStack, size: Any, scheme: Any
) -> None:
    name = f"screenshots/{{}}-{'wide' if size == WIDE else 'narrow'}{'-dark' * (scheme == 'dark')}"
    with open_chat(browser, url, size, color_scheme=scheme) as chat:
        texts = ("The user ", "shows a picture.", " Four corners.")
        reasoning = [{"choices": [{"delta": {"reasoning_content": text}}]} for text in texts]
        stack.enqueue(*reasoning, thinking := Hold(), "Red, green, blue and yellow.\n")
        chat.add_files(file("corners.png", to_png(CORNERS.resize((600, 400), PIL.Image.Resampling.NEAREST))))
        chat.expect_images(1)
        chat.send("Which colours are in the corners?")
        expect(chat.page.locator(".thought-group")).to_contain_text("Four corners.")
        take(chat, name.format("thinking-open"))
        thinking.release.set()
        expect(chat.replies.last).to_contain_text("yellow")
        chat.wait_until_idle()
        take(chat, name.format("image-turn"))
        stack.enqueue(CODE, TABLE)
        chat.ask("As code, and as a table?")
        expect(chat.replies.last.locator("td")).to_have_count(4)
        take(chat, name.format("code-and-table"))
    with open_chat(browser, url, size, color_scheme=scheme) as chat:
        enqueue_slowly(stack, MOON)
        chat.ask("hello world, write me a 2 sentence poem about the moon")
        chat.open_tab("View code")
        expect(chat.page.locator("#code-python .cm-content")).to_be_visible()
        take(chat, name.format("code"))
        chat.open_tab("Time")
        expect(chat.page.locator("#timings .bar")).to_be_visible()
        take(chat, name.format("time"))
        chat.system_prompt.fill("You are shakespeare.")
        chat.open_tab("Compare")
        enqueue_slowly(stack, VERSE)
        chat.button("Replay", exact=True).click()
        expect(chat.page.locator("#comparison ins").last).to_be_visible()
        take(chat, name.format("compare"))


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
            chat.set_sampling("Max tokens", "100")
            chat.page.get_by_text("Sampling").click()
            chat.page.get_by_text("Write a two-sentence poem about llama.").click()
            expect(chat.page.get_by_label("Retry", exact=True)).to_be_enabled()
            chat.wait_until_idle()
            take(chat, name)
