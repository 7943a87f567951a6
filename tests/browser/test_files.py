"""Pictures, thoughts and all that a reply may be made of, in a real Chromium. `pytest --browser`.

With `--screenshots` the pictures in docs/ are made anew.
"""

import base64
import io
import re
from typing import Any

import PIL.Image
import pytest
from playwright.sync_api import Browser, FilePayload, expect

from tests.support.app_process import ROOT, AppProcess
from tests.support.chromium import HELLO, NARROW, SECONDS, SYSTEM, WIDE, Chat, opened
from tests.support.fake_stack import FakeStack, Hold
from tests.web.test_attachments import HOSTILE, MOVING, PNG, SVG, corners, noise, saved

pytestmark = pytest.mark.browser
REASONING = [{"choices": [{"delta": {"reasoning_content": text}}]} for text in ("The user ", "shows a picture.")]


def file(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def add(chat: Chat, *files: FilePayload) -> None:
    chat.page.locator("#message input[type=file]").set_input_files(list(files))


def in_box(chat: Chat, count: int) -> None:
    """Awaits so many pictures in the box, ready to be sent."""
    ready = chat.page.locator("#message .thumbnail-image[src^='data:image/']")
    expect(ready).to_have_count(count)
    expect(chat.page.locator("#message .thumbnail-item")).to_have_count(count)


def pictures(stack: FakeStack, index: int = -1) -> list[PIL.Image.Image]:
    """The pictures in one message of the last request."""
    content = stack.requests[-1]["messages"][index]["content"]
    parts = [part for part in content if part["type"] == "image_url"] if isinstance(content, list) else []
    urls = [part["image_url"]["url"] for part in parts]
    return [PIL.Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


def texts(stack: FakeStack) -> list[tuple[str, str]]:
    """Role and text of the messages in the last request."""

    def text(content: Any) -> str:
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    return [(message["role"], text(message["content"])) for message in stack.requests[-1]["messages"]]


RED, BLUE = (saved(PIL.Image.new("RGB", (60, 40), colour), "PNG") for colour in ("red", "blue"))


def test_pictures_are_picked_shown_sent_and_sent_again_in_later_turns(chat: Chat, stack: FakeStack) -> None:
    add(chat, file("red.png", RED), file("photo.jpg", saved(corners(3000, 2000), "JPEG")))
    in_box(chat, 2)
    chat.ask("What are they?")
    expect(chat.said.last.locator("img")).to_have_count(2)
    in_box(chat, 0)
    assert [picture.size for picture in pictures(stack)] == [(60, 40), (1568, 1045)]
    chat.ask("And now?")
    assert [picture.size for picture in pictures(stack, 1)] == [(60, 40), (1568, 1045)]
    assert texts(stack) == [SYSTEM, ("user", "What are they?"), HELLO, ("user", "And now?")]


def test_a_picture_is_pasted(chat: Chat, stack: FakeStack) -> None:
    hand_over(chat, "#message textarea", "paste", "image.png", RED)
    in_box(chat, 1)
    chat.box.press("Enter")
    expect(chat.replies.last).to_contain_text("Hello there.")
    assert [picture.size for picture in pictures(stack)] == [(60, 40)]


@pytest.mark.parametrize("place", ["#message", "#conversation", "#title"])
def test_a_picture_is_dropped_anywhere_on_the_page(chat: Chat, stack: FakeStack, place: str) -> None:
    hand_over(chat, place, "drop", "red.png", RED)
    in_box(chat, 1)
    chat.ask("Look.")
    assert [picture.size for picture in pictures(stack)] == [(60, 40)]


def hand_over(chat: Chat, selector: str, how: str, name: str, content: bytes) -> None:
    """Pastes or drops a file, as far as a page notices."""
    chat.page.evaluate(
        """([selector, how, name, data]) => {
            const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, {type: "image/png"}));
            const options = {bubbles: true, cancelable: true, clipboardData: transfer, dataTransfer: transfer};
            const target = document.querySelector(selector);
            if (how === "drop") target.dispatchEvent(new DragEvent("dragover", options));
            target.dispatchEvent(new (how === "drop" ? DragEvent : ClipboardEvent)(how, options));
        }""",
        [selector, how, name, base64.b64encode(content).decode()],
    )


def test_a_picture_is_taken_with_the_camera(chat: Chat, stack: FakeStack) -> None:
    chat.page.get_by_label("Take a picture").click()
    expect(chat.page.locator("#camera video")).to_be_visible()
    chat.page.wait_for_function("document.querySelector('#camera video').videoWidth > 0")
    chat.button("Take the picture").click()
    in_box(chat, 1)
    expect(chat.page.locator("#camera video")).not_to_be_visible()
    chat.ask("What do you see?")
    assert pictures(stack)[0].format == "JPEG"
    # Cancel leaves no picture, and the camera off.
    chat.page.get_by_label("Take a picture").click()
    chat.button("Cancel").click()
    in_box(chat, 0)
    chat.page.wait_for_function(
        "!document.querySelector('#camera video').srcObject?.getTracks().some((track) => track.readyState === 'live')"
    )


def test_a_picture_alone_is_a_message_and_one_that_is_removed_is_not_sent(chat: Chat, stack: FakeStack) -> None:
    add(chat, file("red.png", RED), file("b.png", saved(noise(8, 8), "PNG")))
    in_box(chat, 2)
    chat.page.get_by_label("Remove file").first.click()
    in_box(chat, 1)
    chat.box.press("Enter")
    expect(chat.replies.last).to_contain_text("Hello there.")
    assert [picture.size for picture in pictures(stack)] == [(8, 8)]
    assert texts(stack) == [SYSTEM, ("user", "")]


def test_enter_pressed_while_a_file_is_read_sends_it_when_it_has_been(chat: Chat, stack: FakeStack) -> None:
    # Held back: the app's answer to the files.
    held: list[Any] = []
    chat.page.route("**/gradio_api/queue/join*", lambda route: held.append(route), times=1)
    add(chat, file("red.png", RED))
    chat.box.fill("Look.")
    while not held:
        chat.page.wait_for_timeout(20)
    chat.box.press("Enter")
    expect(chat.page.get_by_text("A file is still being read")).to_be_visible()
    held[0].continue_()
    expect(chat.replies.last).to_contain_text("Hello there.")
    assert [picture.size for picture in pictures(stack)] == [(60, 40)]
    assert texts(stack) == [SYSTEM, ("user", "Look.")]
    expect(chat.page.locator("#complaint .error")).to_have_count(0)


def test_undo_and_retry_keep_the_pictures(chat: Chat, stack: FakeStack) -> None:
    add(chat, file("red.png", RED), file("blue.png", BLUE))
    in_box(chat, 2)
    chat.ask("one")
    chat.press("Undo")
    expect(chat.box).to_have_value("one")
    in_box(chat, 2)
    chat.ask("two")
    assert [picture.getpixel((0, 0)) for picture in pictures(stack)] == [(255, 0, 0), (0, 0, 255)]
    # Gradio has no Edit for a message with pictures: Undo stands in.
    expect(chat.conversation.get_by_label("Edit", exact=True)).to_have_count(0)
    stack.enqueue("Another.")
    chat.press("Retry")
    expect(chat.replies.last).to_contain_text("Another.")
    assert texts(stack) == [SYSTEM, ("user", "two")]
    assert len(pictures(stack)) == 2


def test_a_text_file_is_put_into_the_box_beside_what_was_typed(chat: Chat, stack: FakeStack) -> None:
    block = "`notes.py`:\n\n```py\nif a:\n    b()\n```\n\n"
    add(chat, file("notes.py", b"if a:\n    b()\n"))
    expect(chat.box).to_have_value(block)
    chat.page.keyboard.type("What does it do?")
    expect(chat.box).to_have_value(block + "What does it do?")
    add(chat, file("more.md", b"More"))
    expect(chat.box).to_have_value("`more.md`:\n\n```md\nMore\n```\n\n" + block + "What does it do?")
    chat.page.keyboard.type(" Say it.")
    chat.box.press("Enter")
    expect(chat.said.last.locator("pre").last).to_contain_text("    b()")
    chat.at_rest()
    assert texts(stack)[1][1].endswith(block + "What does it do? Say it.")


def test_a_long_text_that_is_pasted_stays_a_text(chat: Chat) -> None:
    text = "word " * 2000
    chat.box.focus()
    chat.page.evaluate(
        """(text) => {
            const transfer = new DataTransfer();
            transfer.setData("text/plain", text);
            const event = new ClipboardEvent("paste", {bubbles: true, cancelable: true, clipboardData: transfer});
            const taken = !document.activeElement.dispatchEvent(event);
            if (!taken) document.execCommand("insertText", false, text);
        }""",
        text,
    )
    expect(chat.box).to_have_value(text)
    in_box(chat, 0)


def test_hostile_files_get_a_sentence_each_and_the_rest_of_the_message_stays(chat: Chat, stack: FakeStack) -> None:
    names = [
        (name, content, told) for name, content, told in HOSTILE.values() if name.strip(" .") and len(content) < 2**20
    ]
    names = [case for case in names if not {"\ud800", "\0"} & set(case[0]) and len(case[0]) < 256]
    add(chat, file("red.png", RED))
    in_box(chat, 1)
    chat.box.fill("What is it?")
    for begin in range(0, len(names), 10):
        some = names[begin : begin + 10]
        add(chat, *[file(name, content) for name, content, _ in some])
        complaints = chat.page.locator("#complaint p")
        told = [re.compile(re.escape(told)) for _, _, told in some]
        expect(complaints).to_have_text(told)
        assert chat.page.locator("#complaint img").count() == 0
        add(chat, file("no.svg", SVG))  # so that the next complaints are others
        expect(complaints).to_have_text([re.compile("no.svg")])
    in_box(chat, 1)
    expect(chat.box).to_have_value("What is it?")
    assert stack.requests == []
    chat.box.press("Enter")
    expect(chat.replies.last).to_contain_text("Hello there.")
    assert len(pictures(stack)) == 1
    expect(chat.page.locator("#complaint p")).to_have_count(0)


def test_a_file_over_the_limit_and_a_fifth_picture_get_a_sentence(chat: Chat, stack: FakeStack) -> None:
    add(chat, file("large.png", PNG + bytes(11 * 2**20)))
    expect(chat.page.locator("#complaint")).to_contain_text("large.png is larger than 10 MB.")
    in_box(chat, 0)
    add(chat, file("moving.gif", saved(noise(60, 40), "GIF", **MOVING)), *[file(f"{n}.png", RED) for n in range(5)])
    expect(chat.page.locator("#complaint")).to_contain_text("moving.gif is animated.")
    expect(chat.page.locator("#complaint")).to_contain_text("At most 4 pictures are sent with a message")
    in_box(chat, 4)
    chat.ask("Look.")
    assert len(pictures(stack)) == 4


def test_a_model_that_is_known_not_to_see_gets_no_picture_and_the_message_stays(chat: Chat, stack: FakeStack) -> None:
    stack.models[0]["custom_metadata"]["input_modalities"] = ["text"]
    chat.button("Refresh models").click()
    expect(chat.page.locator("#status [data-blind]")).to_be_visible()
    add(chat, file("red.png", RED))
    in_box(chat, 1)
    chat.send("What is it?")
    expect(chat.page.locator("#complaint")).to_contain_text("This model cannot see pictures.")
    expect(chat.box).to_have_value("What is it?")
    in_box(chat, 1)
    assert stack.requests == []


def test_an_engines_refusal_of_pictures_is_explained(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue(status=500, body={"error": {"message": "image input is not supported - hint: provide the mmproj"}})
    add(chat, file("red.png", RED))
    in_box(chat, 1)
    chat.ask("What is it?")
    expect(chat.replies.last).to_contain_text("The model fake/llama cannot see pictures.")


# Thinking


@pytest.mark.parametrize("form", ["reasoning_content", "reasoning", "think"])
def test_a_thought_is_open_while_it_lasts_and_folds_up_when_the_answer_begins(
    chat: Chat, stack: FakeStack, form: str
) -> None:
    open_hold, answer_hold = Hold(), Hold()
    said = ["The user ", "wants *x*."]
    thought: list[Any] = [{"choices": [{"delta": {form: text}}]} for text in said]
    if form == "think":
        thought = ["<thi", "nk>", *said]
    end = ["</th", "ink>\n\n"] if form == "think" else []
    stack.enqueue(*thought, open_hold, *end, "It is ", answer_hold, "x.")
    chat.send("What is it?")
    block = chat.page.locator("#conversation .thought-group")
    expect(block).to_contain_text("Thinking")
    expect(block).to_contain_text("The user wants x.")
    expect(block.locator(".loading-spinner")).to_be_visible()
    open_hold.release.set()
    expect(chat.replies.last).to_contain_text("It is")
    expect(block).not_to_contain_text("The user wants x.")
    expect(block).to_contain_text(re.compile(r"Thinking\s*\(\d+(\.\d+)?m?s\)"))
    expect(block.locator(".loading-spinner")).to_have_count(0)
    answer_hold.release.set()
    chat.at_rest()
    block.get_by_role("button").first.click()
    expect(block).to_contain_text("The user wants x.")
    chat.ask("two")
    assert texts(stack) == [SYSTEM, ("user", "What is it?"), ("assistant", "It is x."), ("user", "two")]


def test_a_thought_that_is_stopped_does_not_think_on(chat: Chat, stack: FakeStack) -> None:
    hold = Hold()
    reply = stack.enqueue(*REASONING, hold)
    chat.send("one")
    expect(chat.replies.last).to_contain_text("The user shows a picture.")
    chat.stop_button.click()
    assert reply.ended.wait(SECONDS)
    expect(chat.page.locator(".loading-spinner")).to_have_count(0)
    chat.ask("two")
    assert texts(stack) == [SYSTEM, ("user", "one\n\ntwo")]


def test_a_reasoning_effort_is_sent_only_when_it_is_chosen(chat: Chat, stack: FakeStack) -> None:
    chat.ask("one")
    assert "reasoning_effort" not in stack.requests[-1]
    chat.page.get_by_label("Reasoning effort").click()
    chat.page.get_by_role("option", name="high", exact=True).click()
    chat.ask("two")
    assert stack.requests[-1]["reasoning_effort"] == "high"


# What a reply is made of


AS_WRITTEN = [
    "List<String> and Map<String, List<Integer>> and Array<Object> end",
    "a < b and c > d; x<y; <your_name>; <your-name>; Vec<i> end",
    "<b>bold</b> and <img src=x onerror=alert(1)> and <script>alert(1)</script> end",
    "<!-- a comment --> and <?php echo 1 ?> and <|eot|> and </div> end",
    '<div onclick="x()">\n  inside **div**\n</div>\n\nend',
    "<html>\n  <body>\n    <p>x</p>\n  </body>\n</html>\n\nend",
]


@pytest.mark.parametrize("written", AS_WRITTEN)
def test_what_looks_like_html_is_shown_as_it_was_written(chat: Chat, stack: FakeStack, written: str) -> None:
    stack.enqueue(written)
    chat.box.fill(written)
    chat.box.press("Enter")
    expect(chat.replies.last).to_contain_text("end")
    chat.at_rest()
    for bubble in (chat.said.last, chat.replies.last):
        assert re.sub(r"\n+", "\n", bubble.inner_text()).strip() == re.sub(r"\n+", "\n", written)


def test_code_is_shown_with_its_indentation_and_copied_as_it_was_written(
    browser: Browser, served: tuple[AppProcess, FakeStack], stack: FakeStack
) -> None:
    code = "def f(a: List[int]) -> str:\n    if a < 3:\n        return '<b>$$x$$ \\[y\\]'\n"
    stack.enqueue(f"So:\n\n```python\n{code}```\n")
    with opened(browser, served[0].url) as chat:
        chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        chat.ask("Write code.")
        assert chat.replies.last.locator("pre").inner_text().rstrip("\n") == code.rstrip("\n")
        chat.replies.last.get_by_title("copy").click()
        chat.page.wait_for_function(
            "async (code) => (await navigator.clipboard.readText()).trim() === code", arg=code.strip()
        )


def test_tables_formulas_and_lists_are_drawn(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue(
        "| a | b |\n|---|---|\n| 1 | List<String> |\n\n$$ \\int_0^1 x<y\\,dx $$\n\n\\[ E = mc^2 \\]\n\n"
        "inline \\( a^2 \\), for $5 and $6\n\n- one\n- two\n\nend"
    )
    chat.ask("Show all.")
    expect(chat.replies.last.locator("td").last).to_have_text("List<String>")
    expect(chat.replies.last.locator(".katex-display")).to_have_count(2)
    expect(chat.replies.last.locator(".katex")).to_have_count(3)
    expect(chat.replies.last).to_contain_text("for $5 and $6")
    expect(chat.replies.last.locator("li")).to_have_count(2)


def test_each_paragraph_runs_in_the_direction_of_its_words(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("Left to right.\n\nשלום עולם, hello\n\nمرحبا بالعالم")
    chat.ask("Greet.")
    paragraphs = chat.replies.last.locator("p")
    expect(paragraphs).to_have_count(3)
    left, hebrew, arabic = (paragraph_side(chat, number) for number in range(3))
    assert (left, hebrew, arabic) == ("left", "right", "right")


def paragraph_side(chat: Chat, number: int) -> str:
    """On which side of its box the first letter of a paragraph stands."""
    return str(
        chat.replies.last.locator("p")
        .nth(number)
        .evaluate(
            """(element) => {
                const range = document.createRange();
                const text = document.createTreeWalker(element, NodeFilter.SHOW_TEXT).nextNode();
                range.setStart(text, 0);
                range.setEnd(text, 1);
                const [letter, box] = [range.getBoundingClientRect(), element.getBoundingClientRect()];
                return letter.left - box.left < box.right - letter.right ? "left" : "right";
            }"""
        )
    )


def test_a_reply_of_100_kilobytes_is_shown_whole(chat: Chat, stack: FakeStack) -> None:
    paragraphs = [f"Paragraph {number}. " + "word " * 40 for number in range(480)]
    text = "\n\n".join(paragraphs)
    assert len(text) > 100_000
    stack.enqueue(*[text[begin : begin + 500] for begin in range(0, len(text), 500)])
    chat.ask("Write a book.")
    expect(chat.replies.last.locator("p")).to_have_count(480)
    expect(chat.replies.last.locator("p").last).to_contain_text("Paragraph 479.")
    assert chat.page.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]


def test_a_partial_reply_is_sensible_at_every_moment(chat: Chat, stack: FakeStack) -> None:
    holds = [Hold() for _ in range(4)]
    stack.enqueue(
        *("So:\n\n```python\nif a <", holds[0], " 3:\n    b()\n```\n\n| a | b |\n|---|", holds[1]),
        *("---|\n| 1 | x", holds[2], "y |\n\n$$ x^", holds[3], "2 $$\n\nend"),
    )
    chat.send("Write.")
    reply = chat.replies.last
    expect(reply.locator("pre")).to_contain_text("if a <")
    holds[0].release.set()
    expect(reply.locator("pre")).to_contain_text("    b()")
    expect(reply).to_contain_text("| a | b |")
    expect(reply.locator("pre")).not_to_contain_text("|")
    holds[1].release.set()
    expect(reply.locator("td").last).to_have_text("x")
    holds[2].release.set()
    expect(reply.locator("td").last).to_have_text("xy")
    expect(reply).to_contain_text("$$ x^")
    holds[3].release.set()
    expect(reply.locator(".katex")).to_have_count(1)
    expect(reply).to_contain_text("end")
    expect(reply).not_to_contain_text("$$")


# The pictures in docs/


@pytest.mark.parametrize(
    ("size", "scheme", "name"),
    [
        (WIDE, "light", "wide"),
        (WIDE, "dark", "wide-dark"),
        (NARROW, "light", "narrow"),
        (NARROW, "dark", "narrow-dark"),
    ],
    ids=["wide", "wide and dark", "narrow", "narrow and dark"],
)
def test_a_picture_a_thought_code_and_a_table_look_right_and_screenshots_are_made(
    browser: Browser,
    served: tuple[AppProcess, FakeStack],
    stack: FakeStack,
    request: pytest.FixtureRequest,
    size: Any,
    scheme: Any,
    name: str,
) -> None:
    page = browser.new_page(viewport=size, color_scheme=scheme)
    chat = Chat(page, served[0].url)

    def shot(what: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        if request.config.getoption("--screenshots"):
            page.wait_for_timeout(600)  # what folds up takes a while
            page.screenshot(path=ROOT / "docs" / "screenshots" / f"{what}-{name}.png")

    thinking, answering = Hold(), Hold()
    stack.enqueue(*REASONING, {"choices": [{"delta": {"reasoning": " Four corners."}}]}, thinking, "Red, green, ")
    stack.replies[-1].items += [answering, "blue and yellow.\n"]
    add(chat, file("corners.png", saved(corners(600, 400), "PNG")))
    in_box(chat, 1)
    chat.send("Which colours are in the corners?")
    expect(page.locator(".thought-group")).to_contain_text("Four corners.")
    shot("thinking-open")
    thinking.release.set()
    expect(chat.replies.last).to_contain_text("Red, green,")
    expect(page.locator(".thought-group")).not_to_contain_text("Four corners.")
    answering.release.set()
    chat.at_rest()
    shot("image-turn")
    stack.enqueue(
        "```python\ndef corners(picture: Image) -> list[str]:\n    return [name(p) for p in picture]\n```\n\n"
    )
    stack.replies[-1].items.append("| Corner | Colour |\n|---|---|\n| top left | red |\n| bottom right | yellow |\n")
    chat.ask("As code, and as a table?")
    expect(chat.replies.last.locator("td")).to_have_count(4)
    shot("code-and-table")
    page.close()
