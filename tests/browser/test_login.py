"""The page behind a login."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support import SECONDS
from tests.support.app_process import AppProcess
from tests.support.chromium import Chat
from tests.support.fake_stack import FakeStack, Hold

pytestmark = pytest.mark.browser


def test_a_user_logs_in_chats_stops_a_reply_and_is_logged_out_by_none(
    browser: Browser, stack: FakeStack, tmp_path: Path
) -> None:
    with AppProcess(("--base-url", stack.url), {"LLAMA_UI_AUTH": "alice:wonder"}, tmp_path) as app:
        page = browser.new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.goto(app.url)
        for password in ("wrong", "wonder"):
            page.get_by_label("username").fill("alice")
            page.get_by_label("password").fill(password)
            page.get_by_role("button", name="Login").click()
            if password == "wrong":
                expect(page.get_by_text("Incorrect Credentials")).to_be_visible()
        expect(page.locator("#message textarea")).to_be_visible()
        chat = Chat(page, app.url)
        chat.ask("Hi")
        expect(chat.replies.last).to_contain_text("Hello there.")
        stack.enqueue("![a](/logout) ![b](/gradio_api/heartbeat/b) [c]: /logout ![d][c]")
        with page.expect_response("**/logout") as response:
            chat.ask("Log me out.")
        assert response.value.status == 403
        reply = stack.enqueue("half ", Hold())
        chat.send("again")
        expect(chat.replies.last).to_contain_text("half")
        chat.stop_button.click()
        assert reply.ended.wait(SECONDS)
        page.close()
