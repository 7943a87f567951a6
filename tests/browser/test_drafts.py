"""What a visitor has written is not lost: drafts, dragged text, copies, and replies when the connection is lost."""

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, expect

from tests.support import SECONDS
from tests.support.app_process import AppProcess
from tests.support.chromium import NARROW, NO_CLIPBOARD, NO_COPY, Chat, file, images, open_chat, png
from tests.support.fake_stack import FakeStack, Hold
from tests.support.relay import relay

pytestmark = pytest.mark.browser
# Sends drag events to an element, and tells for each whether the page handles it in place of the browser.
DRAG = """(element, [type, value]) => ["dragenter", "dragover", "drop"].map((name) => {
  const dataTransfer = new DataTransfer();
  if (type === "Files") dataTransfer.items.add(new File([value], "notes.txt", {type: "text/plain"}));
  else dataTransfer.setData(type, value);
  const event = new DragEvent(name, {dataTransfer, bubbles: true, cancelable: true});
  element.dispatchEvent(event);
  return event.defaultPrevented;
})"""


def test_a_draft_survives_retry_new_and_a_reload(chat: Chat, stack: FakeStack) -> None:
    chat.ask("One")
    chat.box.fill("A draft\nof mine")
    chat.add_files(file("red.png", png()))
    chat.expect_images(1)
    chat.press("Retry")
    chat.wait_until_idle()
    expect(chat.box).to_have_value("A draft\nof mine")
    chat.page.reload()
    expect(chat.questions).to_have_text(["One"])
    expect(chat.box).to_have_value("A draft\nof mine")
    chat.expect_images(1)
    chat.start_new_chat()
    expect(chat.box).to_have_value("A draft\nof mine")
    chat.page.reload()
    expect(chat.box).to_have_value("A draft\nof mine")
    chat.box.press("Enter")
    expect(chat.replies).to_have_count(1)
    chat.wait_until_idle()
    assert len(images(stack)) == 1
    chat.page.reload()
    expect(chat.replies).to_have_count(1)
    expect(chat.box).to_have_value("")
    chat.expect_images(0)


def test_a_draft_survives_a_reload_of_a_link_with_a_message(browser: Browser, url: str, stack: FakeStack) -> None:
    with open_chat(browser, f"{url}?message=From+the+link") as chat:
        expect(chat.box).to_have_value("From the link")
        chat.box.fill("My own")
        chat.page.reload()
        expect(chat.status.locator(".ready")).to_be_visible()
        expect(chat.box).to_have_value("My own")


def test_undo_and_edit_leave_a_draft_in_the_box(chat: Chat, stack: FakeStack) -> None:
    chat.ask("One")
    chat.ask("Two")
    chat.box.fill("A draft")
    chat.press("Undo")
    expect(chat.questions).to_have_text(["One"])
    expect(chat.box).to_have_value("A draft")
    chat.toast.get_by_role("button", name="Use the message").click()
    expect(chat.box).to_have_value("Two")
    chat.toast.get_by_role("button", name="Use the draft").click()
    expect(chat.box).to_have_value("A draft")
    chat.box.fill("")
    chat.press("Undo")
    expect(chat.box).to_have_value("One")
    chat.box.fill("Three")
    chat.box.press("Enter")
    expect(chat.replies).to_have_count(1)
    chat.wait_until_idle()
    chat.box.fill("A draft")
    chat.press("Edit")
    chat.conversation.locator("textarea").fill("Four")
    chat.conversation.get_by_label("Submit").click()
    expect(chat.questions).to_have_text(["Four"])
    chat.wait_until_idle()
    expect(chat.box).to_have_value("A draft")


@pytest.mark.parametrize("target", ["#message textarea", "#conversation"])
def test_text_can_be_dragged_and_only_files_are_caught(chat: Chat, target: str) -> None:
    drag = chat.page.locator(target).evaluate
    assert drag(DRAG, ["text/plain", "words"]) == [False, False, False]
    assert drag(DRAG, ["Files", "The file."]) == [True, True, True]
    expect(chat.box).to_have_value("`notes.txt`:\n\n```txt\nThe file.\n```\n\n")


def test_the_end_of_a_reply_leaves_a_selection_as_it_is(chat: Chat, stack: FakeStack) -> None:
    chat.ask("One")
    stack.enqueue("First words.\n\nMore", hold := Hold(), " and the end.")
    chat.send("Two")
    expect(chat.replies.last).to_contain_text("More")
    chat.replies.last.locator("p").first.evaluate("(element) => getSelection().selectAllChildren(element)")
    hold.release.set()
    expect(chat.replies.last).to_contain_text("and the end.")
    chat.wait_until_idle()
    assert chat.page.evaluate("String(getSelection())").strip() == "First words."


def test_the_conversation_is_copied_with_its_thoughts_marked(chat: Chat, stack: FakeStack) -> None:
    chat.allow_clipboard()
    chat.choose_in_menu("Copy conversation")
    expect(chat.toast).to_have_text("There is no conversation to export yet.")
    stack.enqueue("<think>A thought.</think>The *answer*.")
    chat.ask("A question?")
    chat.page.get_by_label("Copy message").last.click()
    assert chat.clipboard() == "The *answer*."
    chat.choose_in_menu("Copy conversation")
    expect(chat.toast).to_have_text("Conversation copied.")
    copied = chat.clipboard()
    question, _, rest = copied.partition("<details><summary>Thought")
    thought, _, answer = rest.partition("</details>")
    assert "A question?" in question and "A thought." in thought and "The *answer*." in answer


@pytest.mark.parametrize("size", [None, NARROW])
def test_without_a_clipboard_copies_are_made_all_the_same(
    browser: Browser, url: str, stack: FakeStack, size: dict[str, int] | None
) -> None:
    with open_chat(browser, url, **({"size": size} if size else {})) as chat:
        chat.page.evaluate(NO_CLIPBOARD)
        stack.enqueue("So:\n\n```\n  x = 1\n```\n")
        chat.ask("Code, please.")
        chat.replies.last.get_by_title("copy").click()
        expect(chat.toast).to_have_text("Code copied.")
        chat.box.focus()
        chat.page.keyboard.press("Control+V")
        expect(chat.box).to_have_value("  x = 1\n")
        chat.box.fill("")
        chat.choose_in_menu("Copy conversation")
        expect(chat.toast).to_have_text("Conversation copied.")
        chat.page.evaluate(NO_COPY)
        chat.choose_in_menu("Copy conversation")
        expect(chat.toast).to_contain_text("can't copy here")
        chat.page.get_by_label("Copy message").last.click()
        expect(chat.toast).to_contain_text("Select the text")
        chat.replies.last.get_by_title("copy").click()
        expect(chat.toast).to_contain_text("The code is selected")
        assert chat.page.evaluate("String(getSelection())").strip() == "x = 1"


def test_on_a_phone_enter_makes_a_new_line_and_the_button_sends(browser: Browser, url: str, stack: FakeStack) -> None:
    with open_chat(browser, url, NARROW, has_touch=True, is_mobile=True) as chat:
        chat.box.fill("One")
        chat.box.press("Enter")
        chat.box.type("Two")
        expect(chat.box).to_have_value("One\nTwo")
        expect(chat.box).to_have_attribute("enterkeyhint", "enter")
        chat.page.locator("#message .submit-button").click()
        expect(chat.questions).to_have_text(["One\nTwo"], use_inner_text=True)
        chat.open_tab("Settings")
        sizes = "(fields) => fields.map((field) => parseFloat(getComputedStyle(field).fontSize))"
        found = chat.page.locator("input:not([type=file], [type=checkbox]), textarea, select").evaluate_all(sizes)
        assert len(found) > 8 and min(found) >= 16


def test_with_a_keyboard_the_return_key_sends(chat: Chat) -> None:
    expect(chat.box).to_have_attribute("enterkeyhint", "send")


@pytest.mark.parametrize("begun", [True, False])
def test_what_came_of_a_reply_stays_when_the_connection_to_the_app_is_lost(
    browser: Browser, start_app: Callable[..., AppProcess], stack: FakeStack, begun: bool
) -> None:
    app = start_app("--base-url", stack.url)
    with open_chat(browser, app.url) as chat:
        stack.enqueue(*(["Half a "] if begun else []), hold := Hold())
        chat.send("Tell me a story.")
        assert hold.reached.wait(SECONDS)
        if begun:
            expect(chat.replies.last).to_contain_text("Half a")
        app.process.kill()
        error = chat.conversation.locator("[data-kind=error]")
        expect(error).to_contain_text("The connection to this page's server was lost")
        expect(error.get_by_role("button", name="Retry")).to_be_visible()
        if begun:
            expect(chat.replies.first).to_have_text("Half a")
        expect(chat.conversation.locator("[data-stats*='failed after']")).to_have_count(1)
        expect(chat.stop_button).to_have_count(0)


def test_a_reply_is_tried_again_when_the_connection_is_back(browser: Browser, url: str, stack: FakeStack) -> None:
    with relay(url) as connection, open_chat(browser, connection.url) as chat:
        stack.enqueue("Half a ", Hold())
        chat.send("Tell me a story.")
        expect(chat.replies.last).to_contain_text("Half a")
        connection.cut()
        error = chat.conversation.locator("[data-kind=error]")
        expect(error).to_contain_text("The connection to this page's server was lost")
        expect(chat.replies.first).to_have_text("Half a")
        expect(chat.stop_button).to_have_count(0)
        chat.box.fill("A draft")
        error.get_by_role("button", name="Retry").click()  # too early
        expect(chat.replies).to_have_count(1)
        expect(error.get_by_role("button", name="Retry")).to_be_visible()
        connection.mend()
        stack.enqueue("A whole story.")
        error.get_by_role("button", name="Retry").click()
        expect(chat.replies).to_have_text(["A whole story."])
        chat.wait_until_idle()
        expect(chat.box).to_have_value("A draft")
        chat.page.reload()
        expect(chat.replies).to_have_text(["A whole story."])


def test_an_import_says_how_many_messages_of_tools_it_leaves_out(chat: Chat) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "assistant", "content": "It is 42.", "reasoning_content": "The tool said so."},
    ]
    with chat.page.expect_file_chooser() as chooser:
        chat.choose_in_menu("Import a chat…")
    body = json.dumps({"model": "fake/llama", "temperature": 0.5, "messages": messages}).encode()
    chooser.value.set_files([{"name": "request.json", "mimeType": "application/json", "buffer": body}])
    expect(chat.toast).to_have_text("2 tool messages were skipped.")
    expect(chat.replies.last).to_have_text("It is 42.")
    chat.open_tab("Settings")
    expect(chat.system_prompt).to_have_value("Be brief.")
    expect(chat.page.get_by_role("textbox", name="Temperature")).to_have_value("0.5")


def test_an_import_without_a_model_leaves_the_chosen_one(chat: Chat, stack: FakeStack) -> None:
    with chat.page.expect_file_chooser() as chooser:
        chat.choose_in_menu("Import a chat…")
    messages = b'[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'
    chooser.value.set_files([{"name": "chat.json", "mimeType": "application/json", "buffer": messages}])
    expect(chat.replies.last).to_have_text("a")
    expect(chat.page.locator("#model-name")).to_have_text("fake/llama")
    chat.page.reload()
    expect(chat.replies.last).to_have_text("a")
    expect(chat.page.locator("#model-name")).to_have_text("fake/llama")
