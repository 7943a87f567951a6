"""Chromium, and the chat page as a person uses it."""

import base64
import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any

import PIL.Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, ViewportSize, expect, sync_playwright

from tests.conftest import CHROMIUM
from tests.support import SECONDS
from tests.support.fake_stack import FakeStack

expect.set_options(timeout=SECONDS * 1000)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', {value: undefined})"  # as on plain http
NO_COPY = f"{NO_CLIPBOARD}; document.execCommand = () => false"
WIDE, NARROW = ViewportSize(width=1280, height=860), ViewportSize(width=390, height=844)
SYSTEM = ("system", "You are a friendly assistant.")
HELLO = ("assistant", "Hello there.")


@contextlib.contextmanager
def launch() -> Iterator[Browser]:
    """Run Chromium. While it runs, no asyncio test can: Playwright has its own event loop in this thread."""
    assert CHROMIUM, "No Chromium found (Debian: apt install chromium)."
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@contextlib.contextmanager
def open_chat(browser: Browser, url: str, size: ViewportSize = WIDE, **options: Any) -> "Iterator[Chat]":
    """Open the page as a new visitor. Fails if the page makes a request to another server."""
    context = browser.new_context(viewport=size, **options)
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    yield Chat(page, url)
    context.close()
    own = (url.partition("?")[0], "data:", "blob:", "about:")
    assert [address for address in requests if not address.startswith(own)] == []


class Chat:
    """The page of one visitor."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.context.set_default_timeout(SECONDS * 1000)
        page.goto(url)
        self.box = page.locator("#message textarea")
        self.stop_button = page.locator("#message .stop-button")
        self.error = page.locator("#message-error")
        self.toast = page.locator("#toast")
        self.status = page.locator("#status")
        self.server = page.locator("#server-details")
        self.system_prompt = page.get_by_role("textbox", name="System prompt")
        self.model = page.locator("#model-name")
        self.conversation = page.locator("#conversation")
        self.questions = page.locator("#conversation .user.message")
        self.replies = page.locator("#conversation .bot.message")
        self.saved_chats = page.locator("#chat-list li:not(.group)")
        expect(self.box).to_be_visible()
        expect(self.status).not_to_contain_text("Connecting")

    def send(self, text: str) -> None:
        expect(self.stop_button).to_have_count(0)  # while a reply is written, nothing is sent
        self.box.fill(text)
        if self.box.get_attribute("enterkeyhint") == "send":
            self.box.press("Enter")
        else:  # a phone
            self.page.locator("#message .submit-button").click()

    def ask(self, text: str) -> None:
        """Send a message, and wait for the end of the reply."""
        count = self.questions.count()
        self.send(text)
        expect(self.questions.nth(count)).to_be_visible()
        expect(self.questions.filter(has_text=text).last).to_be_visible()  # together with Stop
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """Wait until a reply that has begun has ended and is saved. After `send` alone, it may not have begun."""
        expect(self.box).to_be_enabled()
        expect(self.stop_button).to_have_count(0)
        expect(self.page.locator("#chat-list[aria-busy=true]")).to_have_count(0)

    def press(self, label: str) -> None:
        """Press a button in the conversation, such as Retry; the last one with this label."""
        self.conversation.get_by_label(label, exact=True).last.click()

    def button(self, name: str, exact: bool = False) -> Locator:
        return self.page.get_by_role("button", name=name, exact=exact)

    def open_panel(self, panel: str) -> None:
        """Open "chats" or "inspect"."""
        expect(self.page.locator(f"#{panel}-toggle")).to_have_attribute("aria-expanded", re.compile("true|false"))
        if not self.page.locator(f"#{panel}").is_visible():
            self.page.locator(f"#{panel}-toggle").click()

    def close_panel(self, panel: str) -> None:
        if self.page.locator(f"#{panel}").is_visible():
            self.button(f"Close {panel.replace('inspect', 'Inspect')}").click()

    def open_tab(self, name: str) -> None:
        """Open Inspect at Settings, Code or Time; or one of the forms of the code."""
        self.open_panel("inspect")
        self.page.get_by_role("tab", name=name, exact=True).click()

    def choose_model(self, name: str) -> None:
        self.page.locator("#model-button").click()
        self.page.keyboard.type(name)
        self.page.keyboard.press("Enter")
        expect(self.model).to_have_text(name)

    def refresh(self) -> None:
        """Have the page look at the server again, as each opening of the list of models does."""
        self.page.locator("#model-button").click()
        self.page.keyboard.press("Escape")

    def set_system_prompt(self, text: str) -> None:
        self.open_tab("Settings")
        self.system_prompt.fill(text)

    def compare(self, choice: str) -> None:
        """Compare the last reply with a preset, another model or "Same again"."""
        self.press("Compare this reply")
        self.page.locator("#picker").get_by_role("option", name=choice, exact=True).click()

    def choose_preset(self, name: str) -> None:
        self.open_tab("Settings")
        self.page.get_by_label("Preset", exact=True).select_option(name)

    def set_sampling(self, label: str, value: str) -> None:
        self.open_tab("Settings")
        self.page.get_by_role("textbox", name=label).fill(value)

    def choose_in_menu(self, name: str) -> None:
        self.page.locator("#menu-button").click()
        self.page.locator("#menu").get_by_text(name).click()

    def start_new_chat(self) -> None:
        self.open_panel("chats")
        self.page.locator("#new-chat").click()
        expect(self.questions).to_have_count(0)

    def add_files(self, *files: FilePayload) -> None:
        self.page.locator("#message input[type=file]").set_input_files(list(files))

    def expect_images(self, count: int) -> None:
        """Wait for this number of images in the message box, ready to be sent."""
        expect(self.page.locator("#message .thumbnail-image[src^='data:image/']")).to_have_count(count)
        expect(self.page.locator("#message .thumbnail-item")).to_have_count(count)

    def allow_clipboard(self) -> None:
        self.page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    def clipboard(self) -> str:
        return str(self.page.evaluate("navigator.clipboard.readText()"))

    def fits(self) -> bool:
        """Whether the page needs no horizontal scrolling."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def file(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def png(colour: str = "red", width: int = 60, height: int = 40) -> bytes:
    return to_png(PIL.Image.new("RGB", (width, height), colour))


def to_png(image: PIL.Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def messages(stack: FakeStack) -> list[tuple[str, str]]:
    """Role and text of the messages in the last request."""

    def text(content: Any) -> str:
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    requested = stack.requests[-1]["messages"]
    assert all(message.keys() == {"role", "content"} for message in requested)
    return [(message["role"], text(message["content"])) for message in requested]


def images(stack: FakeStack, index: int = -1) -> list[PIL.Image.Image]:
    """The images in one message of the last request."""
    content = stack.requests[-1]["messages"][index]["content"]
    urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    return [PIL.Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]
