"""Reading while a reply is written: the reader's place, the draft, the focus, and what a screen reader is told."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import SECONDS
from tests.support.chromium import SYSTEM, Chat, messages, open_chat
from tests.support.fake_stack import Endless, FakeStack, Hold

pytestmark = pytest.mark.browser
LONG = "A line of a long reply.\n\n" * 80
TOP = "document.querySelector('#conversation [role=log]').scrollTop"
REST = "(() => { const log = document.querySelector('#conversation [role=log]');"
REST += " return log.scrollHeight - log.scrollTop - log.clientHeight; })()"


def by_wheel(page: Page) -> None:
    page.locator("#conversation").hover()
    page.mouse.wheel(0, -60)


def by_keyboard(page: Page) -> None:
    page.locator("#conversation [role=log]").focus()
    page.keyboard.press("PageUp")


def by_touch(page: Page) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": 600, "y": 300}]})
    for y in range(310, 460, 15):
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": 600, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("scroll_up", [by_wheel, by_keyboard, by_touch])
def test_scrolling_up_ends_following_and_the_jump_button_resumes_it(
    browser: Browser, url: str, stack: FakeStack, scroll_up: Callable[[Page], None]
) -> None:
    with open_chat(browser, url, has_touch=scroll_up is by_touch) as chat:
        check_following(chat, stack, scroll_up)


def check_following(chat: Chat, stack: FakeStack, scroll_up: Callable[[Page], None]) -> None:
    stack.enqueue(LONG, Endless())
    chat.send("Tell me a story.")
    expect(chat.replies.last).to_contain_text("more more")
    chat.page.wait_for_function(f"{REST} < 3")
    scroll_up(chat.page)
    chat.page.wait_for_function(f"{REST} > 20")
    top, text = chat.page.evaluate(TOP), chat.replies.last.inner_text()
    chat.page.wait_for_function(
        "(length) => document.querySelector('#conversation .bot.message').innerText.length > length + 500",
        arg=len(text),
    )
    assert chat.page.evaluate(TOP) <= top
    jump = chat.button("Jump to the end")
    jump.click()
    expect(jump).not_to_be_visible()
    for _ in range(3):  # it follows
        height = chat.page.evaluate("document.querySelector('#conversation [role=log]').scrollHeight")
        chat.page.wait_for_function(
            "(height) => document.querySelector('#conversation [role=log]').scrollHeight > height", arg=height
        )
        chat.page.wait_for_function(f"{REST} < 3")
    chat.stop_button.click()


def test_sending_from_far_up_shows_the_new_message(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue(LONG)
    chat.ask("Tell me a story.")
    chat.page.locator("#conversation [role=log]").evaluate("(log) => { log.scrollTop = 0; }")
    expect(chat.button("Jump to the end")).to_be_visible()
    chat.ask("And the end?")
    expect(chat.questions.last).to_be_in_viewport()
    expect(chat.replies.last).to_be_in_viewport()


def test_while_a_reply_streams_one_can_type_and_enter_sends_nothing(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("Once", hold := Hold(), " upon a time.")
    chat.send("Tell me a story.")
    expect(chat.replies.last).to_contain_text("Once")
    expect(chat.box).to_be_focused()
    chat.page.keyboard.type("My next message")
    chat.page.keyboard.press("Enter")
    expect(chat.error).to_contain_text("A reply is being written.")
    hold.release.set()
    expect(chat.replies.last).to_contain_text("upon a time.")
    chat.wait_until_idle()
    expect(chat.box).to_have_value("My next message")
    expect(chat.box).to_be_focused()
    assert len(stack.requests) == 1
    chat.page.keyboard.press("Enter")
    expect(chat.questions).to_have_count(2)


def test_a_screen_reader_is_told_once_what_the_reply_is(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("Once ", hold := Hold(), "upon a time.")
    chat.send("Tell me a story.")
    log, announcement = chat.page.locator("#conversation [role=log]"), chat.page.locator("#announcement")
    expect(log).to_have_attribute("aria-busy", "true")
    expect(log).to_have_attribute("aria-live", "off")
    expect(chat.replies.last).to_contain_text("Once")
    expect(announcement).to_have_text("")
    hold.release.set()
    expect(announcement).to_have_text("Reply: Once upon a time.")
    expect(log).to_have_attribute("aria-busy", "false")


def test_an_error_is_shown_once_looks_like_one_and_can_be_retried(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue(status=500, body={"detail": "The engine is on fire."})
    chat.ask("one")
    error = chat.conversation.locator("[data-kind=error]")
    expect(chat.page.get_by_text("The engine is on fire.")).to_have_count(1)
    assert error.locator(".message").evaluate("(row) => getComputedStyle(row).borderLeftWidth") != "0px"
    chat.conversation.get_by_role("button", name="Retry", exact=True).last.click()
    expect(error).to_have_count(0)
    expect(chat.replies).to_have_text(["Hello there."])
    stack.enqueue(
        status=400,
        body={"error": {"message": "maximum context length is 10 tokens", "code": "context_length_exceeded"}},
    )
    chat.ask("two")
    expect(error).to_be_visible()
    expect(error.locator(".reply-actions").get_by_role("button", name="Retry")).to_have_count(0)  # it would not help


def test_tables_and_code_scroll_and_words_stay_whole(chat: Chat, stack: FakeStack) -> None:
    chat.page.set_viewport_size({"width": 390, "height": 844})
    heads = [f"Internationalization{n}" for n in range(8)]
    rule = "|" + "---|" * 8
    stack.enqueue(f"| {' | '.join(heads)} |\n{rule}\n| {' | '.join(heads)} |\n\n```\n{'x' * 200}\n```")
    chat.ask("A table")
    for name in ("table", "pre"):
        region = chat.replies.last.locator(name)
        assert region.evaluate("(region) => region.scrollWidth > region.clientWidth")
        expect(region).to_have_attribute("tabindex", "0")
    cell = chat.replies.last.locator("td").first
    assert cell.evaluate("(cell) => cell.getClientRects().length === 1 && cell.clientHeight < 60")
    assert chat.fits()


def test_every_shortcut(chat: Chat, stack: FakeStack) -> None:
    keyboard = chat.page.keyboard
    chat.ask("One")
    keyboard.press("ArrowUp")
    editor = chat.page.locator("#conversation textarea")
    expect(editor).to_have_value("One")
    expect(editor).to_be_focused()
    keyboard.press("Escape")
    expect(editor).to_have_count(0)
    chat.box.focus()
    keyboard.press("Control+k")
    expect(chat.page.get_by_role("combobox", name="Search models")).to_be_focused()
    keyboard.press("Escape")
    expect(chat.page.locator("#picker")).not_to_be_visible()
    reply = stack.enqueue("Once", Hold())
    chat.send("Two")
    expect(chat.replies.last).to_contain_text("Once")
    keyboard.press("Escape")
    assert reply.ended.wait(SECONDS)
    chat.wait_until_idle()
    chat.page.locator("#inspect-toggle").focus()
    keyboard.press("?")
    expect(chat.page.locator("#shortcuts")).to_be_visible()
    keyboard.press("Escape")
    expect(chat.page.locator("#shortcuts")).not_to_be_visible()
    chat.choose_in_menu("Keyboard shortcuts")
    expect(chat.page.locator("#shortcuts")).to_be_visible()
    keyboard.press("Escape")
    expect(chat.page.locator("#menu-button")).to_be_focused()
    chat.box.focus()
    keyboard.type("?")
    expect(chat.box).to_have_value("?")
    expect(chat.page.locator("#shortcuts")).not_to_be_visible()
    keyboard.press("Control+Shift+o")
    expect(chat.questions).to_have_count(0)
    expect(chat.box).to_be_focused()


def test_the_first_tab_stop_leads_to_the_message_box(chat: Chat) -> None:
    chat.page.evaluate("document.activeElement.blur()")
    chat.page.locator(".skip").focus()
    expect(chat.page.locator(".skip")).to_be_in_viewport()
    chat.page.keyboard.press("Enter")
    expect(chat.box).to_be_focused()


def test_the_focus_never_falls_to_the_body(chat: Chat, stack: FakeStack) -> None:
    active = "document.activeElement !== document.body"
    for action in ("One", "Two"):
        chat.ask(action)
        assert chat.page.evaluate(active)
    stack.enqueue("Once", Hold())
    chat.send("Three")
    expect(chat.replies.last).to_contain_text("Once")
    chat.stop_button.click()
    chat.wait_until_idle()
    expect(chat.box).to_be_focused()
    for label in ("Undo", "Retry"):
        chat.press(label)
        chat.wait_until_idle()
        chat.page.wait_for_function(active)
    chat.start_new_chat()
    chat.page.wait_for_function(active)
    chat.saved_chats.first.get_by_role("button").first.click()
    expect(chat.questions.first).to_be_visible()
    chat.page.wait_for_function(active)
    chat.saved_chats.first.hover()
    chat.button(re.compile("^Delete")).first.click()
    expect(chat.saved_chats).to_have_count(0)
    chat.page.wait_for_function(active)


def test_escape_right_after_enter_stops_the_reply(chat: Chat, stack: FakeStack) -> None:
    reply = stack.enqueue("Once", Endless())
    chat.send("Tell me a story.")
    expect(chat.stop_button).to_be_visible()
    chat.page.keyboard.press("Escape")
    assert reply.ended.wait(SECONDS)
    chat.wait_until_idle()
    chat.ask("And now?")
    expect(chat.replies.last).to_have_text("Hello there.")


def test_a_message_without_a_reply_can_be_retried(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue(Hold())
    chat.send("one")
    expect(chat.replies.last).to_contain_text("Waiting")
    chat.stop_button.click()
    chat.wait_until_idle()
    chat.conversation.get_by_role("button", name="Retry", exact=True).click()
    expect(chat.replies).to_have_text(["Hello there."])
    assert messages(stack) == [SYSTEM, ("user", "one")]


def test_the_page_of_the_api_opens(chat: Chat) -> None:
    chat.choose_in_menu("Use via API")
    expect(chat.page.get_by_role("heading", name="API documentation")).to_be_visible()
