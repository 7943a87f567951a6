"""Images and text files in a message."""

import base64
import re

import pytest
from playwright.sync_api import Route, expect

from tests.support.chromium import HELLO, SYSTEM, Chat, file, images, messages, png
from tests.support.fake_stack import FakeStack

pytestmark = pytest.mark.browser


def test_images_are_sent_resized_and_again_in_later_turns(chat: Chat, stack: FakeStack) -> None:
    chat.add_files(file("small.png", png()), file("photo.png", png(width=3000, height=2000)))
    chat.expect_images(2)
    chat.ask("What are they?")
    expect(chat.conversation.locator(".user-row img")).to_have_count(2)
    chat.expect_images(0)
    assert [image.size for image in images(stack)] == [(60, 40), (1568, 1045)]
    chat.ask("And now?")
    assert [image.size for image in images(stack, 1)] == [(60, 40), (1568, 1045)]
    assert messages(stack) == [SYSTEM, ("user", "What are they?"), HELLO, ("user", "And now?")]


def test_images_can_be_pasted_and_dropped_anywhere_on_the_page(chat: Chat, stack: FakeStack) -> None:
    targets = [("#message textarea", "paste"), ("#message", "drop"), ("#conversation", "drop"), ("#chats", "drop")]
    for count, (selector, event) in enumerate(targets, 1):
        dispatch_file(chat, selector, event)
        chat.expect_images(count)
    chat.ask("Look.")
    assert [image.size for image in images(stack)] == [(60, 40)] * 4


def dispatch_file(chat: Chat, selector: str, event: str) -> None:
    """Paste or drop an image, as far as scripts in a page can tell."""
    chat.page.evaluate(
        """([selector, event, data]) => {
            const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "image.png", {type: "image/png"}));
            const options = {bubbles: true, cancelable: true, clipboardData: transfer, dataTransfer: transfer};
            const target = document.querySelector(selector);
            if (event === "drop") target.dispatchEvent(new DragEvent("dragover", options));
            target.dispatchEvent(new (event === "drop" ? DragEvent : ClipboardEvent)(event, options));
        }""",
        [selector, event, base64.b64encode(png()).decode()],
    )


def test_an_image_alone_is_a_message_and_a_removed_image_is_not_sent(chat: Chat, stack: FakeStack) -> None:
    chat.add_files(file("removed.png", png()), file("other.png", png(width=8, height=8)))
    chat.expect_images(2)
    chat.page.get_by_label("Remove file").first.click()
    chat.expect_images(1)
    chat.box.press("Enter")
    expect(chat.replies.last).to_contain_text("Hello there.")
    assert [image.size for image in images(stack)] == [(8, 8)]
    assert messages(stack) == [SYSTEM, ("user", "")]


def test_enter_while_a_file_is_being_read_sends_the_message_afterwards(chat: Chat, stack: FakeStack) -> None:
    held: list[Route] = []
    chat.page.route("**/gradio_api/queue/join*", lambda route: held.append(route), times=1)
    with chat.page.expect_request("**/gradio_api/queue/join*"):
        chat.add_files(file("red.png", png()))
    chat.send("Look.")
    expect(chat.error).to_contain_text("A file is still being read.")
    held[0].continue_()
    expect(chat.replies.last).to_contain_text("Hello there.")
    assert len(images(stack)) == 1
    assert messages(stack) == [SYSTEM, ("user", "Look.")]
    expect(chat.error.locator("p")).to_have_count(0)


def test_undo_and_retry_keep_the_images(chat: Chat, stack: FakeStack) -> None:
    chat.add_files(file("red.png", png("red")), file("blue.png", png("blue")))
    chat.expect_images(2)
    chat.ask("one")
    # Gradio's Edit would lose them.
    expect(chat.conversation.get_by_label("Edit", exact=True)).not_to_be_visible()
    chat.press("Undo")
    expect(chat.box).to_have_value("one")
    chat.expect_images(2)
    chat.ask("two")
    assert [image.getpixel((0, 0)) for image in images(stack)] == [(255, 0, 0), (0, 0, 255)]
    stack.enqueue("Another.")
    chat.press("Retry")
    expect(chat.replies.last).to_contain_text("Another.")
    assert messages(stack) == [SYSTEM, ("user", "two")]
    assert len(images(stack)) == 2


def test_a_text_file_is_inserted_in_front_of_the_typed_text(chat: Chat, stack: FakeStack) -> None:
    block = "`notes.py`:\n\n```py\nif a:\n    b()\n```\n\n"
    chat.add_files(file("notes.py", b"if a:\n    b()\n"))
    expect(chat.box).to_have_value(block)
    chat.page.keyboard.type("What does it do?")
    expect(chat.box).to_have_value(block + "What does it do?")
    chat.add_files(file("more.md", b"More"))
    expect(chat.box).to_have_value("`more.md`:\n\n```md\nMore\n```\n\n" + block + "What does it do?")
    chat.page.keyboard.type(" Say it.")
    chat.box.press("Enter")
    expect(chat.questions.last).to_contain_text("if a:\n    b()", use_inner_text=True)
    chat.wait_until_idle()
    assert messages(stack)[1][1].endswith(block + "What does it do? Say it.")


def test_a_long_text_that_is_pasted_is_not_turned_into_a_file(chat: Chat) -> None:
    text = "word " * 2000
    chat.allow_clipboard()
    chat.page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
    chat.box.press("Control+V")
    expect(chat.box).to_have_value(text)
    chat.expect_images(0)


def test_refused_files_get_a_sentence_each_and_the_message_stays(chat: Chat, stack: FakeStack) -> None:
    chat.add_files(file("red.png", png()))
    chat.expect_images(1)
    chat.box.fill("What is it?")
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    large = png() + bytes(11 * 2**20)
    chat.add_files(file("<img src=x>.svg", svg), file("large.png", large), *[file(f"{n}.png", png()) for n in range(4)])
    names = ("<img src=x>.svg", "large.png is larger than 10 MB", "At most 4 pictures are sent with a message")
    expect(chat.error.locator("p")).to_have_text([re.compile(name) for name in names])
    expect(chat.error.locator("img")).to_have_count(0)
    chat.expect_images(4)
    expect(chat.box).to_have_value("What is it?")
    chat.box.press("Enter")
    expect(chat.replies.last).to_contain_text("Hello there.")
    assert len(images(stack)) == 4
    expect(chat.error.locator("p")).to_have_count(0)


def test_a_text_only_model_gets_no_images_and_the_message_stays(chat: Chat, stack: FakeStack) -> None:
    stack.models[0]["custom_metadata"]["input_modalities"] = ["text"]
    chat.refresh()
    expect(chat.status.locator("[data-text-only*=fake]")).to_be_visible()
    chat.add_files(file("red.png", png()))
    chat.expect_images(1)
    chat.send("What is it?")
    expect(chat.error).to_contain_text("This model cannot see pictures.")
    expect(chat.box).to_have_value("What is it?")
    chat.expect_images(1)
    assert stack.requests == []
