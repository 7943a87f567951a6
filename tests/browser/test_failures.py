"""Failures of the server, the status line, and the connection check."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support.app_process import AppProcess
from tests.support.bad_servers import Address
from tests.support.chromium import HELLO, SYSTEM, messages, open_chat
from tests.support.fake_stack import Break, FakeStack, Item
from tests.support.servers.recorded import RecordedServer

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def impatient_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Address]]:
    """The URL of an app with a timeout of one second, and the address at which it expects its server."""
    address = Address()
    arguments = ("--base-url", address.url, "--timeout", "1")
    with AppProcess(arguments, {}, tmp_path_factory.mktemp("impatient")) as app:
        yield app.url, address
    address.clear()


MARKUP = {"detail": "<img src=x onerror=alert(1)> `**b** <b>b</b>"}


@pytest.mark.parametrize(
    ("items", "options", "error"),
    [
        (["half a ", Break()], {}, "was lost in the middle of the reply"),
        ([], {"status": 500, "body": MARKUP}, "<img src=x onerror=alert(1)> '**b** <b>b</b>"),
    ],
    ids=["the connection is lost", "the error has markup"],
)
def test_after_a_failure_retry_and_the_next_message_work(
    browser: Browser, impatient_app: tuple[str, Address], items: list[Item], options: dict[str, Any], error: str
) -> None:
    url, address = impatient_app
    partial = "half a " if items else ""
    stack = address.put(FakeStack)
    with open_chat(browser, url) as chat:
        chat.ask("zero")
        stack.enqueue(*items, **options)
        chat.ask("one")
        expect(chat.replies.last).to_contain_text(error)
        expect(chat.conversation.locator("[data-kind=error]")).to_have_count(1)
        if partial:
            expect(chat.replies.nth(-2)).to_have_text(partial.strip())
        expect(chat.conversation.locator("img, b, strong")).to_have_count(0)
        stack = address.put(FakeStack)
        chat.button("Retry").last.click()
        expect(chat.conversation).not_to_contain_text(error)
        chat.wait_until_idle()
        expect(chat.replies.last).to_have_text("Hello there.")
        assert messages(stack) == [SYSTEM, ("user", "zero"), HELLO, ("user", "one")]
        stack.enqueue(*items, **options)
        chat.ask("two")
        expect(chat.replies.last).to_contain_text(error)
        stack = address.put(FakeStack)
        chat.ask("three")
        expect(chat.replies.last).to_have_text("Hello there.")
    last = [("user", "two"), ("assistant", partial), ("user", "three")] if partial else [("user", "two\n\nthree")]
    assert messages(stack) == [SYSTEM, ("user", "zero"), HELLO, ("user", "one"), HELLO, *last]


def test_the_status_line_follows_the_server(browser: Browser, impatient_app: tuple[str, Address]) -> None:
    url, address = impatient_app
    address.clear()
    with open_chat(browser, url) as chat:
        error, ready = chat.status.locator(".error"), chat.status.locator(".ready")
        expect(error).to_have_text("No server")
        expect(chat.server).to_contain_text(address.url)
        address.put(FakeStack)
        chat.ask("one")
        expect(ready).to_have_text("OGX 1.5.0")
        expect(chat.server).to_contain_text(address.url)
        address.clear()
        chat.ask("two")
        expect(error).to_be_visible()
        address.put(FakeStack).models[0]["id"] = "engine/tiny"
        chat.refresh()
        expect(ready).to_contain_text("OGX 1.5.0")
        # A server of another generation at the same address.
        chat.choose_model("engine/tiny")
        address.put(RecordedServer)
        chat.ask("three")
        expect(chat.replies.last).to_contain_text("This server's name for the model engine/tiny is tiny.")
        expect(ready).to_contain_text("Llama Stack 0.1.9")


def test_the_connection_check_shows_each_step(browser: Browser, impatient_app: tuple[str, Address]) -> None:
    url, address = impatient_app
    address.put(FakeStack)
    with open_chat(browser, url) as chat:
        results = chat.page.locator("#check-results li")
        chat.status.get_by_role("button").click()
        steps = ["Address", "Name", "Connection", "HTTP", "Server", "Models", "Key", "Reply"]
        expect(results).to_have_text([re.compile(step) for step in steps])
        expect(chat.page.locator("#check-results li.ready")).to_have_count(len(steps))
        address.clear()
        chat.button("Check the connection").click()
        expect(results).to_have_text([re.compile(step) for step in steps[:3]])
        expect(results.last).to_have_class(re.compile("error"))
