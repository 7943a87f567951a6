"""The "View code" tab."""

import json

import PIL.Image
import pytest
from playwright.sync_api import expect

from tests.support import SECONDS
from tests.support.chromium import Chat, file, png
from tests.support.fake_stack import MODEL, FakeStack, Hold

pytestmark = pytest.mark.browser


def test_view_code_shows_the_last_request_whatever_the_settings_are_now(chat: Chat, stack: FakeStack) -> None:
    code = chat.page.locator("#code-python .cm-content")
    chat.open_tab("View code")
    expect(code).to_contain_text("Send a message")
    chat.open_tab("Chat")
    chat.set_sampling("Temperature", "0.5")
    chat.add_files(file("red.png", png()))
    chat.expect_images(1)
    chat.ask("What is this?")
    chat.system_prompt.fill("Something else.")
    chat.set_sampling("Temperature", "1.5")
    chat.open_tab("View code")
    expect(code).to_contain_text("client.chat.completions.create(")
    expect(code).to_contain_text("temperature=0.5")
    expect(code).not_to_contain_text("Something else.")
    with chat.page.expect_download() as download:
        chat.page.get_by_role("link", name="image-1.png").click()
    assert PIL.Image.open(download.value.path()).size == (60, 40)
    chat.allow_clipboard()
    chat.open_tab("JSON")
    chat.page.locator("#code-json").get_by_role("button", name="Copy").click()
    copied, request = json.loads(chat.clipboard()), stack.requests[-1]
    url = copied["messages"][-1]["content"][1]["image_url"]
    assert "image-1.png" in url["url"]
    url["url"] = request["messages"][-1]["content"][1]["image_url"]["url"]
    assert copied == request


def test_view_code_shows_the_request_of_a_reply_stopped_before_it_began(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue(hold := Hold())
    chat.system_prompt.fill("Be brief.")
    chat.send("Tell me a story.")
    assert hold.reached.wait(SECONDS)
    chat.stop_button.click()
    chat.wait_until_idle()
    chat.system_prompt.fill("Something else.")
    chat.open_tab("View code")
    code = chat.page.locator("#code-python .cm-content")
    expect(code).to_contain_text("Tell me a story.")
    expect(code).to_contain_text("Be brief.")
    expect(code).to_contain_text(f"model='{MODEL}'")
