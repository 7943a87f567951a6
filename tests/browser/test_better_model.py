"""A better model for the local stack, from the panel of the server's state. The hub is one of the test's own."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support import SECONDS
from tests.support.app_process import AppProcess
from tests.support.chromium import open_chat
from tests.support.demonstration import link_demonstration
from tests.support.hub import FakeHub

pytestmark = [pytest.mark.browser, pytest.mark.real_stack]


def test_a_better_model_is_offered_fetched_cancelled_and_used(
    browser: Browser, start_app: Callable[..., AppProcess], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    content = link_demonstration(cache).read_bytes()
    with FakeHub("smollm2-360m", content) as hub:
        hub.holds_at = len(content) // 2
        app = start_app(HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET="1", LLAMA_UI_CACHE=str(cache))
        with open_chat(browser, app.url) as chat:
            expect(chat.status.locator(".ready")).to_contain_text("Local stack")
            expect(chat.model).to_have_text("local/SmolLM2-135M-Instruct")
            chat.status.get_by_role("button").click()
            panel = chat.page.locator("#server-panel")
            expect(panel).to_contain_text("386 MB to download, about 0.7 GB of memory, Apache-2.0")
            expect(panel).to_contain_text("1.1 GB to download, about 1.4 GB of memory, Apache-2.0")
            panel.get_by_role("button", name="SmolLM2-360M-Instruct").click()
            assert hub.held.wait(SECONDS)
            expect(panel.get_by_role("progressbar")).to_be_visible()
            expect(panel).to_contain_text(re.compile(r"Downloading SmolLM2-360M-Instruct: \d+ of \d+ MB"))
            panel.get_by_role("button", name="Cancel").click()
            expect(panel.get_by_role("progressbar")).to_have_count(0)
            expect(chat.model).to_have_text("local/SmolLM2-135M-Instruct")
            panel.get_by_role("button", name="SmolLM2-1.7B-Instruct").click()  # which this hub does not have
            expect(panel.get_by_role("alert")).to_be_visible()
            hub.holds_at = None
            hub.release.set()
            panel.get_by_role("button", name="SmolLM2-360M-Instruct").click()
            expect(chat.model).to_have_text("local/SmolLM2-360M-Instruct")
            expect(panel.get_by_role("button", name="SmolLM2-360M-Instruct")).to_have_count(0)
            expect(panel).not_to_contain_text("Fine for a tour")
            chat.page.keyboard.press("Escape")
            chat.set_sampling("Max tokens", "5")
            chat.ask("Hello")
            expect(chat.conversation.locator("[data-stats*='tokens in']")).to_have_count(1)


def test_a_public_page_offers_no_other_model(browser: Browser, start_app: Callable[..., AppProcess]) -> None:
    app = start_app("--trusted-proxies", "127.0.0.1")
    with open_chat(browser, app.url) as chat:
        expect(chat.status.locator(".ready")).to_contain_text("Local stack")
        chat.status.get_by_role("button").click()
        expect(chat.server).to_be_visible()
        expect(chat.server).not_to_contain_text("Get a better model")
