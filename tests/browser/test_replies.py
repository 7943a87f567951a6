"""How replies are rendered: reasoning, Markdown, code, and statistics."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.support import SECONDS
from tests.support.chromium import SYSTEM, Chat, messages
from tests.support.fake_stack import Break, FakeStack, Hold

pytestmark = pytest.mark.browser
REASONING = [{"choices": [{"delta": {"reasoning_content": text}}]} for text in ("The user ", "wants *x*.")]


def test_reasoning_is_open_until_the_answer_begins(chat: Chat, stack: FakeStack) -> None:
    thinking, answering = Hold(), Hold()
    stack.enqueue(*REASONING, thinking, "It is ", answering, "x.")
    chat.send("What is it?")
    block = chat.page.locator("#conversation .thought-group")
    expect(block).to_contain_text("Thinking")
    expect(block).to_contain_text("The user wants x.")
    expect(block.locator(".loading-spinner")).to_be_visible()
    thinking.release.set()
    expect(chat.replies.last).to_contain_text("It is")
    expect(block).not_to_contain_text("The user wants x.")
    expect(block).to_contain_text(re.compile(r"Thinking\s*\(\d+(\.\d+)?m?s\)"))
    expect(block.locator(".loading-spinner")).to_have_count(0)
    answering.release.set()
    chat.wait_until_idle()
    block.get_by_role("button").first.click()
    expect(block).to_contain_text("The user wants x.")
    chat.ask("two")
    assert messages(stack) == [SYSTEM, ("user", "What is it?"), ("assistant", "It is x."), ("user", "two")]


def test_stop_during_reasoning_ends_its_spinner(chat: Chat, stack: FakeStack) -> None:
    reply = stack.enqueue(*REASONING, Hold())
    chat.send("one")
    expect(chat.replies.last).to_contain_text("The user wants x.")
    chat.stop_button.click()
    assert reply.ended.wait(SECONDS)
    expect(chat.page.locator(".loading-spinner")).to_have_count(0)
    chat.ask("two")
    assert messages(stack) == [SYSTEM, ("user", "one\n\ntwo")]


TAGS = [
    "List<String> and Map<String, List<Integer>> and Array<Object> 1",
    "a < b and c > d; x<y; <your_name>; <your-name>; Vec<i> 2",
    "<b>bold</b> and <img src=x onerror=alert(1)> and <script>alert(1)</script> 3",
    "<!-- a comment --> and <?php echo 1 ?> and <|eot|> and </div> 4",
    '<div onclick="x()">\n  inside **div**\n</div>\n\n5',
    "<html>\n  <body>\n    <p>x</p>\n  </body>\n</html>\n\n6",
]


def test_html_tags_are_shown_as_text(chat: Chat, stack: FakeStack) -> None:
    for text in TAGS:
        stack.enqueue(text)
        chat.send(text)
        for message in (chat.questions.last, chat.replies.last):
            expect(message).to_contain_text(text[-1])
        chat.wait_until_idle()
        for message in (chat.questions.last, chat.replies.last):
            assert re.sub(r"\n+", "\n", message.inner_text()).strip() == re.sub(r"\n+", "\n", text)


def test_code_keeps_its_indentation_when_shown_and_copied(chat: Chat, stack: FakeStack) -> None:
    code = "    def f(a: List[int]) -> str:\n\tif a < 3:\n\t\t    return '<b>$$x$$ \\[y\\]'\n\n"
    # Plain, indented, in a quotation, in a list; in lists with tabs.
    shapes = {
        "": "",
        "  ": "  ",
        "> ": "> ",
        "- ": "  ",
        "1.\tOne:\n\n\t": "\t",
        "- a\n\t": "\t",
        "* a\n\t* b\n\n\t\t": "\t\t",
    }
    blocks = [first + f"```python\n{code}```".replace("\n", "\n" + others) for first, others in shapes.items()]
    stack.enqueue("So:\n\n" + "\n\nand\n\n".join(blocks))
    chat.allow_clipboard()
    chat.ask("Write code.")
    expect(chat.replies.last.locator("pre")).to_have_count(len(shapes))
    for block in chat.replies.last.locator(".code_wrap").all():
        assert block.locator("code").inner_text() == code
        block.get_by_title("copy").click()
        expect(chat.toast).to_have_text("Code copied.")
        assert chat.clipboard() == code
        chat.page.evaluate("document.querySelector('#toast').remove(); navigator.clipboard.writeText('')")


def test_code_without_a_fence_keeps_its_tabs(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("Code:\n\n\tif x:\n\n\t\ty\n\nand\n\n    a\tb\n    \tc\n\n- one\n\n\t- two\n\n\t\t- three")
    chat.ask("Write code.")
    assert chat.replies.last.locator("code").all_inner_texts() == ["if x:\n\n\ty\n", "a\tb\n\tc\n"]
    expect(chat.replies.last.locator("li li li")).to_have_text("three")


def test_tables_formulas_and_lists_are_rendered(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue(
        "| a | b |\n|---|---|\n| 1 | List<String> |\n\n$$ \\int_0^1 x<y\\,dx $$\n\n\\[ E = mc^2 \\]\n\n"
        "inline \\( a^2 \\), for $5 and $6\n\n- one\n- two\n\nend"
    )
    chat.ask("Show all.")
    reply = chat.replies.last
    expect(reply.locator("td").last).to_have_text("List<String>")
    expect(reply.locator(".katex-display")).to_have_count(2)
    expect(reply.locator(".katex")).to_have_count(3)
    expect(reply).to_contain_text("for $5 and $6")
    expect(reply.locator("li")).to_have_count(2)


def test_each_paragraph_has_the_direction_of_its_script(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("Left to right.\n\nשלום עולם, hello\n\nمرحبا بالعالم")
    chat.ask("Greet.")
    paragraphs = chat.replies.last.locator("p")
    expect(paragraphs).to_have_count(3)
    for paragraph in paragraphs.all():
        expect(paragraph).to_have_css("unicode-bidi", "plaintext")
        expect(paragraph).to_have_css("text-align", "start")


def test_statistics_are_shown_below_a_reply_but_not_copied_or_sent(chat: Chat, stack: FakeStack) -> None:
    chat.allow_clipboard()
    chat.ask("One")
    stats = chat.conversation.locator("[data-stats*='first token']")
    expect(stats).to_have_count(1)
    assert "7 tokens in, 3 out" in (line := stats.get_attribute("data-stats") or "") and "stop" in line
    chat.page.get_by_label("Copy message").last.click()
    assert chat.clipboard() == "Hello there."
    chat.ask("Two")
    expect(stats).to_have_count(2)
    assert "token" not in json.dumps(stack.requests[-1]["messages"])
    stack.enqueue(hold := Hold(), "Hi")
    chat.press("Retry")
    assert hold.reached.wait(SECONDS)
    expect(stats).to_have_count(1)
    expect(chat.conversation.get_by_role("button", name="Retry")).to_have_count(0)  # it is being answered
    hold.release.set()
    expect(stats).to_have_count(2)


def test_the_time_tab_has_a_row_for_each_reply_that_leads_to_it(chat: Chat, stack: FakeStack) -> None:
    chat.open_tab("Time")
    expect(chat.page.get_by_text("Timings appear after your first message.")).to_be_visible()
    stack.enqueue("A long reply.\n\n" * 60)
    chat.ask("One")
    chat.ask("Two")
    rows = chat.page.locator("#timings button")
    expect(rows).to_contain_text(["One", "Two"])
    expect(rows.first.locator("i.first")).to_have_attribute("title", re.compile(r"First token: \d+\.\d\d s"))
    expect(chat.replies.first.get_by_text("A long reply.").first).not_to_be_in_viewport()
    rows.first.click()
    expect(chat.replies.first.get_by_text("A long reply.").first).to_be_in_viewport()
    chat.open_tab("Code")
    expect(chat.page.locator("#code-caption")).to_contain_text("The request for “One”")


def test_a_reply_that_was_stopped_or_failed_says_so_with_its_time(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("half ", Hold())
    chat.send("one")
    expect(chat.replies.last).to_contain_text("half")
    chat.stop_button.click()
    chat.wait_until_idle()
    line = chat.conversation.locator("[data-stats*='stopped after']")
    expect(line).to_have_attribute(
        "data-stats", re.compile(r"^\d+\.\d\d s to first token · ≈8 tokens in, ≈2 out · stopped after \d+\.\d\d s$")
    )
    stack.enqueue("half ", Break())
    chat.ask("two")
    line = chat.conversation.locator("[data-stats*='failed after']")
    expect(line).to_have_attribute("data-stats", re.compile(r"failed after \d+\.\d\d s$"))
    chat.open_tab("Time")
    expect(chat.page.locator("#timings button")).to_contain_text(["stopped after", "failed after"])
    chat.page.reload()
    expect(chat.conversation.locator("[data-stats*='stopped after']")).to_have_count(1)


@pytest.mark.parametrize("beginning", [[], REASONING], ids=["nothing", "thoughts"])
def test_a_reply_that_was_stopped_before_its_answer_has_its_time(
    chat: Chat, stack: FakeStack, beginning: list[Any]
) -> None:
    stack.enqueue(*beginning, hold := Hold())
    chat.send("one")
    assert hold.reached.wait(SECONDS)
    if beginning:
        expect(chat.replies.last).to_contain_text("The user wants x.")
    chat.stop_button.click()
    chat.wait_until_idle()
    line = chat.conversation.locator("[data-stats*='stopped after']")
    expect(line).to_have_attribute("data-stats", re.compile(r"≈8 tokens in, ≈\d out · stopped after \d+\.\d\d s$"))
    expect(chat.replies.last).to_have_text("ℹ️ The reply ended before the answer began.")
    expect(chat.conversation).not_to_contain_text("numbers")
    chat.page.reload()
    expect(line).to_have_count(1)
    chat.ask("two")
    assert messages(stack) == [SYSTEM, ("user", "one\n\ntwo")]


def test_a_whole_reply_keeps_its_numbers_when_a_later_one_is_stopped_and_undone(chat: Chat, stack: FakeStack) -> None:
    chat.ask("one")
    stack.enqueue("half ", Hold())
    chat.send("two")
    expect(chat.replies.last).to_contain_text("half")
    chat.stop_button.click()
    chat.wait_until_idle()
    chat.press("Undo")
    expect(chat.replies).to_have_count(1)
    chat.page.reload()
    expect(chat.conversation.locator("[data-stats*='7 tokens in, 3 out']")).to_have_count(1)
    expect(chat.conversation.locator("[data-stats*='stopped']")).to_have_count(0)
