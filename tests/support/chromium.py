"""Chromium, and the page as a person uses it."""

import contextlib
from collections.abc import Iterator

from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright

from tests.conftest import CHROMIUM
from tests.support.fake_stack import FakeStack

SECONDS = 20.0
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
WIDE, NARROW = ViewportSize(width=1280, height=860), ViewportSize(width=390, height=844)
expect.set_options(timeout=SECONDS * 1000)
FLAGS += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    assert CHROMIUM, "No Chromium found (Debian: apt install chromium)."
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@contextlib.contextmanager
def opened(browser: Browser, url: str) -> "Iterator[Chat]":
    """A new page of the app at this address, which may load nothing from elsewhere."""
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    yield Chat(page, url)
    context.close()
    own = (url.partition("?")[0], "data:", "blob:", "about:")
    outside = [address for address in requested if not address.startswith(own)]
    assert outside == [], "the page loads something from elsewhere"


class Chat:
    """The page, as a person uses it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.goto(url)
        self.box = page.locator("#message textarea")
        self.stop_button = page.locator("#message .stop-button")
        self.status = page.locator("#status")
        self.system_prompt = page.get_by_role("textbox", name="System prompt")
        self.conversation = page.locator("#conversation")
        self.replies = page.locator("#conversation .bot.message")
        self.said = page.locator("#conversation .user.message")
        expect(self.box).to_be_visible()
        expect(self.status).not_to_contain_text("Connecting")

    def send(self, text: str) -> None:
        expect(self.box).to_be_enabled(timeout=SECONDS * 1000)
        self.box.fill(text)
        self.box.press("Enter")

    def ask(self, text: str) -> None:
        """Sends, and awaits the end of the reply."""
        self.send(text)
        expect(self.said.last).to_contain_text(text)
        self.at_rest()

    def at_rest(self) -> None:
        expect(self.box).to_be_enabled(timeout=SECONDS * 1000)
        expect(self.stop_button).to_have_count(0)
        expect(self.page.locator("#kept-list[aria-busy=true]")).to_have_count(0)

    def press(self, label: str) -> None:
        self.conversation.get_by_label(label, exact=True).last.click()

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)


def sent(stack: FakeStack) -> list[tuple[str, str]]:
    """Role and content of the messages in the last request, which hold nothing else."""
    messages = stack.requests[-1]["messages"]
    assert all(message.keys() == {"role", "content"} for message in messages)
    return [(message["role"], message["content"]) for message in messages]


SYSTEM = ("system", "You are a friendly assistant.")
HELLO = ("assistant", "Hello there.")
