"""The code of a request, in Inspect."""

import json

import PIL.Image
import pytest
from playwright.sync_api import Route, expect

from tests.support import SECONDS
from tests.support.chromium import Chat, file, png
from tests.support.fake_stack import MODEL, FakeStack, Hold

pytestmark = pytest.mark.browser


def test_the_code_of_a_reply_is_that_of_its_request_whatever_the_settings_are_now(chat: Chat, stack: FakeStack) -> None:
    code = chat.page.locator("#code-python pre")
    chat.set_sampling("Temperature", "0.5")
    chat.add_files(file("red.png", png()))
    chat.expect_images(1)
    chat.ask("What is this?")
    chat.set_system_prompt("Something else.")
    chat.set_sampling("Temperature", "1.5")
    chat.ask("And now?")
    chat.conversation.get_by_label("Code of this reply").first.click()
    expect(code).to_contain_text("client.chat.completions.create(")
    expect(code).to_contain_text("temperature=0.5")
    expect(code).not_to_contain_text("Something else.")
    with chat.page.expect_download() as download:
        chat.page.get_by_role("link", name="image-1.png").click()
    assert PIL.Image.open(download.value.path()).size == (60, 40)
    chat.allow_clipboard()
    chat.open_tab("JSON")
    chat.page.locator("#code-json").get_by_role("button", name="Copy").click()
    expect(chat.toast).to_have_text("Code copied.")
    copied, request = json.loads(chat.clipboard()), stack.requests[0]
    url = copied["messages"][-1]["content"][1]["image_url"]
    assert "image-1.png" in url["url"]
    url["url"] = request["messages"][-1]["content"][1]["image_url"]["url"]
    assert copied == request


def test_the_code_of_a_reply_stopped_before_it_began(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("Hi.", hold := Hold())
    chat.set_system_prompt("Be brief.")
    chat.send("Tell me a story.")
    assert hold.reached.wait(SECONDS)
    chat.stop_button.click()
    chat.wait_until_idle()
    chat.set_system_prompt("Something else.")
    chat.press("Code of this reply")
    code = chat.page.locator("#code-python pre")
    expect(code).to_contain_text("Tell me a story.")
    expect(code).to_contain_text("Be brief.")
    expect(code).to_contain_text(f"model='{MODEL}'")


def test_the_code_of_the_next_request_follows_what_is_typed(chat: Chat, stack: FakeStack) -> None:
    chat.open_tab("Code")
    code = chat.page.locator("#code-python pre")
    expect(code).to_contain_text("Hello!")
    chat.box.fill("What is a llama?")
    expect(code).to_contain_text("What is a llama?")
    chat.set_sampling("Max tokens", "7")
    chat.open_tab("Code")
    expect(code).to_contain_text("max_tokens=7")
    for text in ("one", "two", "three"):
        chat.ask(text)
    earlier = code.locator("details")
    expect(earlier.locator("summary")).to_have_attribute("data-text", "… 6 earlier messages")
    expect(earlier).not_to_have_attribute("open", "")
    earlier.locator("summary").click()
    expect(earlier).to_have_attribute("open", "")
    expect(earlier).to_contain_text("'content': 'one'")
    assert stack.requests[-1]["max_tokens"] == 7


def test_the_code_is_of_the_last_change_also_while_an_earlier_one_is_on_its_way(chat: Chat) -> None:
    chat.open_tab("Code")
    code = chat.page.locator("#code-python pre")
    expect(code).to_contain_text("Hello!")
    held: list[Route] = []
    chat.page.route("**/queue/join*", lambda route: held.append(route), times=1)
    with chat.page.expect_request("**/queue/join*"):
        chat.box.fill("The first")
    button = chat.page.locator("#show-code")
    pressed = button.evaluate_handle("(button) => ({again: new Promise((done) => (button.onclick = done))})")
    chat.box.fill("The second")
    pressed.evaluate("({again}) => again")
    held[0].continue_()
    expect(code).to_contain_text("The second")


def test_a_bad_value_is_explained_in_place_of_the_code(chat: Chat) -> None:
    chat.set_sampling("Temperature", "9")
    chat.open_tab("Code")
    expect(chat.page.locator("#code-python")).to_have_text("Temperature must be 0–2, or empty.")
