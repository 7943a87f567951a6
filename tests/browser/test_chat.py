"""Sending, stopping and repeating messages, the settings, and the layout of the page."""

import pytest
from playwright.sync_api import Locator, Route, ViewportSize, expect

from tests.support import SECONDS
from tests.support.chromium import HELLO, NARROW, SYSTEM, WIDE, Chat, messages
from tests.support.fake_stack import FakeStack, Hold

pytestmark = pytest.mark.browser


def test_stop_during_a_reply_keeps_its_text_and_closes_the_request(chat: Chat, stack: FakeStack) -> None:
    reply = stack.enqueue("half a ", Hold())
    chat.send("one")
    expect(chat.replies.last).to_contain_text("half a")
    chat.stop_button.click()
    assert reply.ended.wait(SECONDS)
    chat.ask("two")
    assert messages(stack) == [SYSTEM, ("user", "one"), ("assistant", "half a "), ("user", "two")]


def test_stop_before_the_first_token_joins_the_message_with_the_next(chat: Chat, stack: FakeStack) -> None:
    reply = stack.enqueue(Hold())
    chat.send("one")
    expect(chat.replies.last).to_contain_text("Waiting for the first token")
    chat.stop_button.click()
    assert reply.ended.wait(SECONDS)
    expect(chat.replies).to_have_text("ℹ️ The reply ended before the answer began.")
    chat.ask("two")
    assert messages(stack) == [SYSTEM, ("user", "one\n\ntwo")]
    expect(chat.page.get_by_text("Waiting")).to_have_count(0)


def test_closing_the_tab_closes_the_request(chat: Chat, stack: FakeStack) -> None:
    reply = stack.enqueue(Hold())
    chat.send("one")
    expect(chat.replies.last).to_contain_text("Waiting")
    chat.page.goto("about:blank")
    assert reply.ended.wait(SECONDS)


def test_retry_undo_and_edit_send_what_the_page_shows(chat: Chat, stack: FakeStack) -> None:
    chat.ask("one")
    chat.ask("two")
    two = [SYSTEM, ("user", "one"), HELLO, ("user", "two")]
    assert messages(stack) == two
    stack.enqueue("Another.")
    chat.press("Retry")
    expect(chat.replies.last).to_contain_text("Another.")
    chat.wait_until_idle()
    assert messages(stack) == two
    chat.press("Undo")
    expect(chat.box).to_have_value("two")
    chat.ask("three")
    assert messages(stack) == [SYSTEM, ("user", "one"), HELLO, ("user", "three")]
    chat.press("Edit")
    chat.page.locator("#conversation textarea").fill("three, edited")
    reply = stack.enqueue("partly", Hold())
    chat.press("Submit")
    expect(chat.replies.last).to_contain_text("partly")
    chat.stop_button.click()
    assert reply.ended.wait(SECONDS)
    chat.ask("four")
    edited = [("user", "three, edited"), ("assistant", "partly"), ("user", "four")]
    assert messages(stack) == [SYSTEM, ("user", "one"), HELLO, *edited]
    chat.start_new_chat()
    chat.ask("five")
    assert messages(stack) == [SYSTEM, ("user", "five")]


def test_messages_are_sent_verbatim_on_later_turns_too(chat: Chat, stack: FakeStack) -> None:
    text = "  if a:\n      print('<b>')  # `x` $y$ 😀"
    stack.enqueue(text)
    chat.send(text)
    expect(chat.replies.last).to_contain_text("print")
    chat.wait_until_idle()
    chat.ask("two")
    assert messages(stack) == [SYSTEM, ("user", text), ("assistant", text), ("user", "two")]


def test_a_request_for_a_reply_that_fails_does_not_lock_the_page(chat: Chat, stack: FakeStack) -> None:
    def refuse(route: Route) -> None:
        if '"one"' in (route.request.post_data or ""):
            route.fulfill(status=500)
        else:
            route.fallback()

    chat.page.route("**/gradio_api/queue/join*", refuse)
    with chat.page.expect_response(lambda response: response.status == 500):
        chat.send("one")
    chat.wait_until_idle()
    chat.page.unroute_all()
    chat.ask("two")
    assert messages(stack) == [SYSTEM, ("user", "one\n\ntwo")]


def test_blank_and_long_messages_stay_in_the_box(chat: Chat, stack: FakeStack) -> None:
    chat.ask("one")
    chat.send("   ")
    expect(chat.error).to_have_text("Type something to send.")
    chat.send("x" * 32_001)
    expect(chat.error).to_contain_text("The message has 32,001 characters")
    expect(chat.page.get_by_role("alert")).to_be_in_viewport()
    expect(chat.box).to_have_value("x" * 32_001)
    expect(chat.replies.last).to_contain_text("Hello there.")
    expect(chat.page.get_by_text("Error", exact=True)).to_have_count(0)  # Gradio's overlay of a failed component
    assert len(stack.requests) == 1
    chat.ask("short")
    expect(chat.page.get_by_role("alert")).to_have_count(0)
    assert messages(stack) == [SYSTEM, ("user", "one"), HELLO, ("user", "short")]


def test_enter_pressed_twice_sends_a_message_once(chat: Chat, stack: FakeStack) -> None:
    hold = Hold()
    stack.enqueue("begun ", hold)
    chat.box.fill("one")
    # Both in one task of the page, which is faster than two commands to the browser.
    press = 'new KeyboardEvent("keypress", {key: "Enter", bubbles: true, cancelable: true})'
    chat.box.evaluate(f"(box) => {{ box.dispatchEvent({press}); box.dispatchEvent({press}); }}")
    expect(chat.replies.last).to_contain_text("begun")
    hold.release.set()
    chat.wait_until_idle()
    expect(chat.questions).to_have_count(1)
    assert len(stack.requests) == 1


def test_settings_apply_to_the_next_message(chat: Chat, stack: FakeStack) -> None:
    chat.ask("one")
    assert stack.requests[-1].keys() == {"model", "messages", "stream", "stream_options"}
    chat.choose_preset("Shakespeare")
    expect(chat.system_prompt).to_have_value("You are shakespeare.")
    chat.set_sampling("Temperature", "0.5")
    chat.set_sampling("Max tokens", "12")
    chat.page.get_by_label("Reasoning effort").click()
    chat.page.get_by_role("option", name="high", exact=True).click()
    chat.ask("two")
    request = stack.requests[-1]
    assert messages(stack)[0] == ("system", "You are shakespeare.")
    assert (request["temperature"], request["max_tokens"], request["reasoning_effort"]) == (0.5, 12, "high")
    assert "top_p" not in request and "seed" not in request


def test_without_streaming_the_reply_comes_in_one_piece(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue(*["word "] * 50)
    chat.open_tab("Settings")
    chat.page.get_by_label("Streaming").click()
    chat.page.get_by_role("option", name="Off", exact=True).click()
    chat.ask("one")
    assert stack.requests[-1].keys() == {"model", "messages", "stream"} and stack.requests[-1]["stream"] is False
    expect(chat.replies.last).to_contain_text("word word")
    expect(chat.page.get_by_text("held the stream back")).to_have_count(0)


def test_models_can_be_refreshed_and_an_id_typed(chat: Chat, stack: FakeStack) -> None:
    expect(chat.status).to_contain_text("OGX 1.5.0")
    expect(chat.server).to_contain_text(f"{stack.url}, 1 chat model")
    stack.models.append(stack.models[0] | {"id": "fake/new"})
    chat.page.locator("#model-button").click()  # which looks for them again
    expect(chat.page.get_by_role("option")).to_have_text(["fake/llama", "fake/new"])
    chat.page.keyboard.press("Escape")
    chat.choose_model("fake/new")
    chat.ask("one")
    assert stack.requests[-1]["model"] == "fake/new"
    chat.choose_model("fake/unknown")
    chat.ask("two")
    expect(chat.replies.last).to_contain_text("The server has no model fake/unknown")


def test_the_page_can_be_used_with_the_keyboard_alone(chat: Chat, stack: FakeStack) -> None:
    expect(chat.box).to_be_focused()
    chat.page.keyboard.type("one")
    chat.page.keyboard.press("Enter")
    expect(chat.replies.last).to_contain_text("Hello there.")
    expect(chat.box).to_be_focused()
    reply = stack.enqueue("half ", Hold())
    chat.page.keyboard.type("two")
    chat.page.keyboard.press("Enter")
    expect(chat.replies.last).to_contain_text("half")
    tab_to(chat, chat.stop_button)
    chat.page.keyboard.press("Enter")
    assert reply.ended.wait(SECONDS)
    for control in (chat.page.locator("#inspect-toggle"), chat.page.locator("#model-button"), chat.button("New chat")):
        tab_to(chat, control)


def tab_to(chat: Chat, control: Locator) -> None:
    """Press Tab until the control has the focus. The test's own timeout ends a loop that does not reach it."""
    while not control.evaluate("(element) => element === document.activeElement"):
        chat.page.keyboard.press("Tab")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_page_and_its_tabs_need_no_horizontal_scrolling(chat: Chat, stack: FakeStack, size: ViewportSize) -> None:
    chat.page.set_viewport_size(size)
    stack.enqueue("A long word: " + "x" * 400 + "\n\n```\n" + "y" * 400 + "\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |")
    chat.ask("y" * 400)
    assert chat.fits()
    for part in (chat.box, chat.model):
        expect(part).to_be_in_viewport()
    tabs = {"Settings": "#system-prompt", "Code": "#code-python pre", "Time": "#timings .bar"}
    for tab, content in tabs.items():
        chat.open_tab(tab)
        expect(chat.page.locator(content)).to_be_visible()
        assert chat.fits()
    chat.button("Close Inspect").click()
    chat.press("Compare this reply")
    chat.page.get_by_role("option", name="Same again").click()
    expect(chat.page.locator("#second-answer .bot.message")).to_contain_text("Hello there.")
    assert chat.fits()
