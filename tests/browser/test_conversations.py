"""Conversations saved in the browser, as files, and as links."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support import SECONDS
from tests.support.chromium import NO_COPY, Chat, file, open_chat, png
from tests.support.fake_stack import FakeStack, Hold

pytestmark = pytest.mark.browser
HOSTILE = '“quotes” """ \' \\ `$(id)` </script><b>x</b> 🦙\n\n    indented\n!! EOF'


def converse(chat: Chat) -> None:
    """Two turns, with an image, text that breaks formats, and settings."""
    chat.set_system_prompt("Be brief.\n" + HOSTILE)
    chat.set_sampling("Temperature", "0.5")
    chat.set_sampling("Seed", "7")
    chat.send(HOSTILE)
    expect(chat.replies).to_have_count(1)
    chat.wait_until_idle()
    chat.add_files(file("red.png", png()))
    chat.expect_images(1)
    chat.ask("What is this?")


def export(chat: Chat, kind: str) -> str:
    with chat.page.expect_download() as download:
        chat.choose_in_menu(f"Export as {kind}")
    return Path(download.value.path()).read_text(encoding="utf-8")


def import_file(chat: Chat, content: str) -> None:
    with chat.page.expect_file_chooser() as chooser:
        chat.choose_in_menu("Import a chat…")
    chooser.value.set_files([file("chat.json", content.encode())])


@pytest.fixture
def expected(browser: Browser, url: str, stack: FakeStack) -> dict[str, Any]:
    """The third request of the conversation above when nothing happens in between."""
    with open_chat(browser, url) as chat:
        converse(chat)
        chat.ask("Go on.")
    return stack.requests[-1]


def test_an_exported_conversation_continues_after_its_import(
    chat: Chat, stack: FakeStack, expected: dict[str, Any]
) -> None:
    chat.choose_in_menu("Export as JSON")
    expect(chat.toast).to_contain_text("There is no conversation to export yet.")
    converse(chat)
    assert "Hello there." in export(chat, "Markdown")
    import_file(chat, '{"format": "llama-ui conversation", "version": 99}')
    expect(chat.toast).to_contain_text("The file is not")
    exported = export(chat, "JSON")
    chat.start_new_chat()
    chat.set_system_prompt("Something else.")
    chat.set_sampling("Seed", "")
    import_file(chat, exported)
    expect(chat.replies).to_have_count(2)
    expect(chat.conversation.locator(".user-row img")).to_be_visible()
    expect(chat.saved_chats).to_have_count(2)
    chat.ask("Go on.")
    assert stack.requests[-1] == expected


def test_a_saved_conversation_continues_after_a_reload_and_in_another_tab(
    chat: Chat, stack: FakeStack, expected: dict[str, Any]
) -> None:
    converse(chat)
    chat.page.reload()
    expect(chat.replies).to_have_count(2)
    expect(chat.saved_chats).to_have_count(1)
    tab = Chat(chat.page.context.new_page(), chat.page.url)
    expect(tab.questions).to_have_count(0)
    tab.open_tab("Settings")
    expect(tab.system_prompt).to_have_value("You are a friendly assistant.")
    tab.saved_chats.get_by_role("button").first.click()
    for page in (chat, tab):
        expect(page.conversation.locator("[data-stats*='7 tokens in']")).to_have_count(2)
        page.wait_until_idle()
        page.ask("Go on.")
        assert stack.requests[-1] == expected


def test_a_reload_during_a_reply_keeps_the_message(chat: Chat, stack: FakeStack) -> None:
    reply = stack.enqueue("Once", hold := Hold())
    chat.send("Tell me a story.")
    assert hold.reached.wait(SECONDS)
    expect(chat.saved_chats).to_have_count(1)
    chat.page.reload()
    expect(chat.questions).to_have_text(["Tell me a story."])
    assert reply.ended.wait(SECONDS)


def test_conversations_can_be_opened_renamed_and_deleted(chat: Chat, stack: FakeStack) -> None:
    chat.ask("About llamas")
    expect(chat.page).to_have_title("About llamas · Llama Stack Chat")
    chat.start_new_chat()
    expect(chat.page).to_have_title("Llama Stack Chat")
    chat.ask("About <b>moons</b>")
    expect(chat.saved_chats).to_have_text(["About <b>moons</b>", "About llamas"])
    chat.saved_chats.last.hover()
    chat.button("Rename About llamas").click()
    title = chat.page.locator("#name input")
    title.fill("Wool")
    title.press("Enter")
    expect(chat.button("Wool", exact=True)).to_be_focused()
    chat.button("Wool", exact=True).click()
    expect(chat.questions).to_have_text(["About llamas"])
    chat.ask("More")
    expect(chat.saved_chats.first).to_contain_text("Wool")
    expect(chat.page.locator("#chat-list [aria-current=true]")).to_have_text("Wool")
    chat.saved_chats.first.hover()
    chat.button("Delete Wool").click()
    expect(chat.saved_chats).to_have_count(1)
    expect(chat.questions).to_have_count(0)
    chat.button("Undo", exact=True).click()
    expect(chat.saved_chats).to_have_count(2)
    chat.button("Wool", exact=True).click()
    expect(chat.questions).to_have_count(2)
    chat.saved_chats.first.hover()
    chat.button("Delete Wool").click()
    expect(chat.saved_chats).to_have_count(1)
    chat.page.reload()
    expect(chat.saved_chats).to_have_text(["About <b>moons</b>"])


def test_during_a_reply_a_conversation_can_be_renamed_and_no_other_opened(chat: Chat, stack: FakeStack) -> None:
    chat.ask("One")
    stack.enqueue("Once", hold := Hold())
    chat.start_new_chat()
    chat.send("Two")
    assert hold.reached.wait(SECONDS)
    chat.button("One", exact=True).click()
    expect(chat.toast).to_contain_text("Stop it first")
    chat.saved_chats.first.hover()
    chat.button("Rename Two").click()
    chat.page.locator("#name input").fill("Wool")
    hold.release.set()
    chat.wait_until_idle()
    chat.page.locator("#name input").press("Enter")
    chat.ask("Three")
    expect(chat.saved_chats).to_have_text(["Wool", "One"])
    expect(chat.replies).to_have_text(["Once", "Hello there."])
    chat.button("One", exact=True).click()
    expect(chat.questions).to_have_text(["One"])


def test_a_conversation_continued_in_two_tabs_becomes_two(chat: Chat, stack: FakeStack) -> None:
    chat.ask("One")
    tab = Chat(chat.page.context.new_page(), chat.page.url)
    tab.button("One", exact=True).click()
    expect(tab.questions).to_have_count(1)
    tab.ask("Two")
    chat.ask("Three")
    expect(chat.saved_chats).to_have_count(2)
    for row, last in ((0, "Three"), (1, "Two")):
        chat.saved_chats.nth(row).get_by_role("button").first.click()
        expect(chat.questions.last).to_have_text(last)


def test_the_saved_conversation_follows_undo_and_stop(chat: Chat, stack: FakeStack) -> None:
    chat.ask("One")
    chat.ask("Two")
    chat.press("Undo")
    expect(chat.questions).to_have_count(1)
    chat.wait_until_idle()
    chat.page.reload()
    expect(chat.questions).to_have_text(["One"])
    stack.enqueue("Once", Hold())
    chat.send("Three")
    expect(chat.replies.last).to_contain_text("Once")
    chat.stop_button.click()
    chat.wait_until_idle()
    chat.page.reload()
    expect(chat.replies.last).to_contain_text("Once")
    expect(chat.page.get_by_text("Waiting for")).to_have_count(0)


def test_a_link_fills_in_settings_and_message_but_sends_nothing(browser: Browser, url: str, stack: FakeStack) -> None:
    stack.models.append(stack.models[0] | {"id": "fake/other"})
    message = "hi & bye=?#%20\n" + HOSTILE
    with open_chat(browser, url) as chat:
        chat.allow_clipboard()
        chat.set_system_prompt(HOSTILE)
        chat.set_sampling("Temperature", "0.5")
        chat.choose_model("fake/other")
        chat.send(message)
        expect(chat.replies).to_have_count(1)
        chat.wait_until_idle()
        chat.ask("A second message")
        chat.button("Share").click()
        expect(chat.toast).to_have_text("Link copied, with settings and first message.")
        link = chat.clipboard()
    with open_chat(browser, link) as chat:
        expect(chat.box).to_have_value(message)
        chat.open_tab("Settings")
        expect(chat.system_prompt).to_have_value(HOSTILE)
        expect(chat.model).to_have_text("fake/other")
        assert len(stack.requests) == 2
        chat.box.press("Enter")
        expect(chat.replies).to_have_count(1)
        chat.wait_until_idle()
        assert stack.requests[2] == stack.requests[0]
        chat.page.reload()
        expect(chat.replies).to_have_count(1)  # the conversation of this link, not the empty one


def test_parts_of_a_link_that_are_ignored_are_named(browser: Browser, url: str, stack: FakeStack) -> None:
    query = f"temperature=9&foo=1&model=nope%3Cb%3E&system_prompt=Be+brief.&message={'x' * 33_000}"
    with open_chat(browser, f"{url}/?{query}") as chat:
        chat.open_tab("Settings")
        expect(chat.system_prompt).to_have_value("Be brief.")
        expect(chat.box).to_have_value("")
        for name in ("Temperature", "foo", "nope<b>", "message"):
            expect(chat.error).to_contain_text(name)
        expect(chat.model).to_have_text("fake/llama")


def test_a_link_is_shown_where_the_browser_cannot_copy(chat: Chat, stack: FakeStack) -> None:
    chat.page.evaluate(NO_COPY)
    chat.box.fill("Not sent yet")
    chat.choose_in_menu("Copy link")
    expect(chat.toast).to_contain_text("message=Not+sent+yet")
    chat.box.fill("x" * 9_000)
    chat.choose_in_menu("Copy link")
    expect(chat.toast).to_contain_text("too long")
