"""What was said is looked at, kept, taken along and tried again, in a real Chromium. `pytest --browser`."""

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.test_files import RED, add, file, in_box
from tests.support.app_process import ROOT, AppProcess
from tests.support.chromium import NARROW, SECONDS, WIDE, Chat, opened
from tests.support.fake_stack import MODEL, Endless, FakeStack, Hold, Reply

pytestmark = pytest.mark.browser
StartApp = Callable[..., AppProcess]
HOSTILE = '“quotes” """ \' \\ `$(id)` </script><b>x</b> 🦙\n\n    indented\n!! EOF'
OTHER_MODEL = {"id": "fake/other", "object": "model", "created": 0, "owned_by": "x"}


def tab(chat: Chat, name: str) -> Locator:
    return chat.page.get_by_role("tab", name=name, exact=True)


def kept(chat: Chat) -> Locator:
    return chat.page.locator("#kept-list li")


def told(chat: Chat) -> Locator:
    return chat.page.locator("#told")


def choose_sampling(chat: Chat, label: str, value: str) -> None:
    field = chat.page.get_by_role("textbox", name=label)
    if not field.is_visible():
        chat.page.get_by_text("Sampling").click()
    field.fill(value)


def exported(chat: Chat, kind: str) -> str:
    with chat.page.expect_download() as download:
        chat.button(f"Export {kind}").click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def import_file(chat: Chat, content: str | bytes, name: str = "chat.json") -> None:
    data = content if isinstance(content, bytes) else content.encode()
    chat.page.locator("#shelf-buttons input[type=file]").set_input_files([file(name, data)])


def converse(chat: Chat) -> None:
    """Two turns with settings of their own, hostile text and a picture."""
    chat.system_prompt.fill("Be brief.\n" + HOSTILE)
    choose_sampling(chat, "Temperature", "0.5")
    choose_sampling(chat, "Seed", "7")
    chat.send(HOSTILE)
    chat.at_rest()
    expect(chat.replies).to_have_count(1)
    add(chat, file("red.png", RED))
    in_box(chat, 1)
    chat.ask("What is this?")


@pytest.fixture
def without_detour(browser: Browser, served: tuple[AppProcess, FakeStack], stack: FakeStack) -> dict[str, Any]:
    """The third request of that conversation, where nothing came in between."""
    with opened(browser, served[0].url) as chat:
        converse(chat)
        chat.ask("Go on.")
    return stack.requests[-1]


def test_a_conversation_that_is_exported_and_imported_continues_as_if_nothing_had_been(
    chat: Chat, stack: FakeStack, without_detour: dict[str, Any]
) -> None:
    converse(chat)
    saved = exported(chat, "JSON")
    chat.press("Clear")
    expect(chat.said).to_have_count(0)
    chat.system_prompt.fill("Something else.")
    choose_sampling(chat, "Seed", "")
    import_file(chat, saved)
    expect(chat.replies).to_have_count(2)
    expect(chat.said.last.locator("img")).to_be_visible()
    expect(kept(chat)).to_have_count(2)
    chat.ask("Go on.")
    assert stack.requests[-1] == without_detour


def test_a_conversation_survives_a_restart_of_the_app_and_continues(
    browser: Browser, start_app: StartApp, without_detour: dict[str, Any], stack: FakeStack
) -> None:
    app = start_app("--base-url", stack.url)
    with opened(browser, app.url) as chat:
        converse(chat)
        app.process.terminate()
        app.process.wait(20)
        start_app("--base-url", stack.url, "--port", str(app.port))
        other_tab = Chat(chat.page.context.new_page(), app.url)
        expect(other_tab.said).to_have_count(0)
        expect(other_tab.system_prompt).to_have_value("You are a friendly assistant.")
        kept(other_tab).get_by_role("button", name="Open").click()
        expect(other_tab.replies).to_have_count(2)
        expect(other_tab.conversation.locator("[data-numbers*='7 tokens in']")).to_have_count(2)
        other_tab.ask("Go on.")
    assert stack.requests[-1] == without_detour


def test_a_reload_brings_the_tabs_conversation_back(
    chat: Chat, stack: FakeStack, without_detour: dict[str, Any]
) -> None:
    converse(chat)
    chat.page.reload()
    expect(chat.replies).to_have_count(2)
    chat.at_rest()
    chat.ask("Go on.")
    assert stack.requests[-1] == without_detour
    expect(kept(chat)).to_have_count(1)


def test_a_reply_that_a_reload_breaks_off_keeps_the_question(chat: Chat, stack: FakeStack) -> None:
    hold = Hold()
    reply = stack.enqueue("Once", hold)
    chat.send("Tell me a story.")
    assert hold.reached.wait(SECONDS)
    expect(kept(chat)).to_have_count(1)
    chat.page.reload()
    expect(chat.said).to_have_text(["Tell me a story."])
    hold.release.set()
    assert reply.ended.wait(SECONDS)


def test_conversations_are_listed_opened_renamed_and_deleted(chat: Chat, stack: FakeStack) -> None:
    chat.ask("About llamas")
    chat.button("New").click()
    expect(chat.said).to_have_count(0)
    chat.ask("About <b>moons</b>")
    expect(kept(chat)).to_have_text(["About <b>moons</b>✎✕", "About llamas✎✕"])
    chat.button("Rename About llamas").click()
    name = chat.page.locator("#kept-list input")
    name.fill("Wool")
    name.press("Enter")
    chat.button("Open Wool").click()
    expect(chat.said).to_have_text(["About llamas"])
    chat.ask("More")
    expect(kept(chat).first).to_contain_text("Wool")
    chat.page.once("dialog", lambda dialog: dialog.dismiss())
    chat.button("Delete Wool").click()
    expect(kept(chat)).to_have_count(2)
    chat.page.once("dialog", lambda dialog: dialog.accept())
    chat.button("Delete Wool").click()
    expect(kept(chat)).to_have_count(1)
    expect(chat.said).to_have_count(0)
    chat.page.reload()
    expect(kept(chat)).to_have_text(["About <b>moons</b>✎✕"])


def test_a_conversation_that_is_renamed_while_it_is_answered_stays_one(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("Once", hold := Hold())
    chat.send("One")
    assert hold.reached.wait(SECONDS)
    chat.button("Rename One").click()
    chat.page.locator("#kept-list input").fill("Wool")
    hold.release.set()
    chat.at_rest()
    chat.page.locator("#kept-list input").press("Enter")
    expect(kept(chat)).to_have_text(["Wool✎✕"])
    chat.ask("Two")
    expect(kept(chat)).to_have_text(["Wool✎✕"])


def test_another_conversation_is_not_opened_over_a_reply_that_is_being_written(chat: Chat, stack: FakeStack) -> None:
    chat.ask("One")
    hold = Hold()
    stack.enqueue("Once", hold)
    chat.button("New").click()
    chat.send("Two")
    assert hold.reached.wait(SECONDS)
    chat.button("Open One").click()
    expect(told(chat)).to_contain_text("Stop it first")
    hold.release.set()
    chat.at_rest()
    expect(chat.replies).to_have_text(["Once"])
    chat.button("Open One").click()
    expect(chat.said).to_have_text(["One"])


def test_clearing_the_conversation_ends_its_reply_and_keeps_what_there_was(chat: Chat, stack: FakeStack) -> None:
    reply = stack.enqueue("Once", Endless())
    chat.send("Tell me a story.")
    expect(chat.replies.last).to_contain_text("Once")
    chat.press("Clear")
    assert reply.ended.wait(SECONDS)
    chat.at_rest()
    expect(chat.said).to_have_count(0)
    chat.ask("Something else")
    expect(kept(chat)).to_have_text(["Something else✎✕", "Tell me a story.✎✕"])


def test_a_conversation_that_goes_on_in_two_tabs_becomes_two(chat: Chat, stack: FakeStack) -> None:
    chat.ask("One")
    other_tab = Chat(chat.page.context.new_page(), chat.page.url)
    other_tab.button("Open One").click()
    other_tab.ask("Two")
    chat.ask("Three")
    expect(kept(chat)).to_have_count(2)
    for row, last in ((0, "Three"), (1, "Two")):
        kept(chat).nth(row).get_by_role("button", name="Open").click()
        expect(chat.said.last).to_have_text(last)


def test_what_stop_and_undo_left_is_what_is_kept(chat: Chat, stack: FakeStack) -> None:
    chat.ask("One")
    chat.ask("Two")
    chat.press("Undo")
    expect(chat.said).to_have_count(1)
    chat.at_rest()
    chat.page.reload()
    expect(chat.said).to_have_text(["One"])
    stack.enqueue("Once", hold := Hold())
    chat.send("Three")
    assert hold.reached.wait(SECONDS)
    expect(chat.replies.last).to_contain_text("Once")
    chat.stop_button.click()
    chat.at_rest()
    hold.release.set()
    chat.page.reload()
    expect(chat.replies.last).to_contain_text("Once")
    expect(chat.page.get_by_text("Waiting for")).to_have_count(0)


def test_a_conversation_is_exported_as_markdown(chat: Chat, stack: FakeStack) -> None:
    chat.button("Export Markdown").click()
    expect(told(chat)).to_contain_text("no conversation")
    converse(chat)
    text = exported(chat, "Markdown")
    assert "Hello there." in text and "    indented" in text and "Be brief." in text
    assert "base64" not in text


BAD_FILES = ["", "{", "[1]", '{"format": "llama-ui conversation", "version": 99}', b"\xff\xfe\x00"]


@pytest.mark.parametrize("bad", BAD_FILES)
def test_a_bad_file_gets_a_sentence_and_the_conversation_stays(chat: Chat, stack: FakeStack, bad: str | bytes) -> None:
    chat.ask("One")
    import_file(chat, bad)
    expect(told(chat)).to_be_visible(timeout=SECONDS * 1000)
    expect(chat.said).to_have_text(["One"])
    chat.ask("Two")
    expect(chat.said).to_have_text(["One", "Two"])


def test_a_link_carries_an_experiment_to_a_fresh_browser_and_sends_nothing(
    browser: Browser, served: tuple[AppProcess, FakeStack], stack: FakeStack
) -> None:
    stack.models.append(OTHER_MODEL)
    with opened(browser, served[0].url) as chat:
        chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        chat.system_prompt.fill(HOSTILE)
        choose_sampling(chat, "Temperature", "0.5")
        chat.page.locator("#model input").fill("fake/other")
        chat.page.locator("#model input").press("Enter")
        chat.send("hi & bye=?#%20\n" + HOSTILE)
        chat.at_rest()
        chat.ask("A second message")
        chat.button("Copy link").click()
        expect(told(chat)).to_contain_text("copied")
        link = chat.page.evaluate("navigator.clipboard.readText()")
        first = stack.requests[0]
    with opened(browser, link) as chat:
        expect(chat.box).to_have_value("hi & bye=?#%20\n" + HOSTILE)
        expect(chat.system_prompt).to_have_value(HOSTILE)
        expect(chat.page.locator("#model input")).to_have_value("fake/other")
        assert len(stack.requests) == 2
        chat.box.press("Enter")
        expect(chat.replies).to_have_count(1)
        chat.at_rest()
        assert stack.requests[2] == first
        chat.page.reload()
        expect(chat.replies).to_have_count(1)  # it was begun from this link


def test_what_a_link_carries_in_vain_is_told(browser: Browser, served: tuple[AppProcess, FakeStack]) -> None:
    query = f"temperature=9&foo=1&model=nope%3Cb%3E&system_prompt=Be+brief.&message={'x' * 33_000}"
    with opened(browser, f"{served[0].url}/?{query}") as chat:
        expect(chat.system_prompt).to_have_value("Be brief.")
        expect(chat.box).to_have_value("")
        complaint = chat.page.locator("#complaint")
        for words in ("Temperature", "foo", "nope<b>", "message"):
            expect(complaint).to_contain_text(words)
        expect(chat.page.locator("#model input")).to_have_value("fake/llama")


def test_a_link_is_shown_where_there_is_no_clipboard(chat: Chat, stack: FakeStack) -> None:
    chat.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    chat.box.fill("Not sent yet")
    chat.button("Copy link").click()
    expect(told(chat)).to_contain_text("message=Not+sent+yet")
    chat.box.fill("x" * 9_000)
    chat.button("Copy link").click()
    expect(told(chat)).to_contain_text("too long")


def test_what_a_reply_took_stands_below_it_and_is_neither_copied_nor_sent(chat: Chat, stack: FakeStack) -> None:
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.ask("One")
    numbers = chat.conversation.locator("[data-numbers*='first token']")
    expect(numbers).to_have_count(1)
    assert "7 tokens in, 3 out" in (line := numbers.get_attribute("data-numbers") or "") and "stop" in line
    chat.page.get_by_label("Copy message").last.click()
    assert chat.page.evaluate("navigator.clipboard.readText()") == "Hello there."
    chat.ask("Two")
    expect(numbers).to_have_count(2)
    assert "token" not in json.dumps(stack.requests[-1]["messages"])
    hold = Hold()
    stack.enqueue(hold, "Hi")
    chat.press("Retry")
    assert hold.reached.wait(SECONDS)
    expect(numbers).to_have_count(1)
    hold.release.set()
    expect(numbers).to_have_count(2)


def test_a_reply_that_is_stopped_still_says_when_it_began(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("Once", hold := Hold())
    chat.send("One")
    assert hold.reached.wait(SECONDS)
    expect(chat.replies.last).to_contain_text("Once")
    chat.stop_button.click()
    chat.at_rest()
    hold.release.set()
    expect(chat.conversation.locator("[data-numbers*='to first token']")).to_have_count(1)


def test_tokens_that_the_server_does_not_count_are_marked_as_an_estimate(chat: Chat, stack: FakeStack) -> None:
    reply = Reply(["Hello there.", {"choices": [{"delta": {}, "finish_reason": "stop"}]}], finish_reason=None)
    stack.replies.append(reply)
    chat.ask("One")
    expect(chat.conversation.locator("[data-numbers*='≈']")).to_have_count(1)


def test_the_time_of_each_turn_is_drawn(chat: Chat, stack: FakeStack) -> None:
    tab(chat, "Time").click()
    expect(chat.page.locator("#took")).to_contain_text("Chat first")
    tab(chat, "Chat").click()
    chat.ask("One")
    chat.ask("Two")
    tab(chat, "Time").click()
    expect(chat.page.locator("#took .bar")).to_have_count(2)
    expect(chat.page.locator("#took .bar i.first").first).to_have_attribute(
        "title", re.compile(r"First token: 0\.\d\d s")
    )


def test_view_code_shows_what_was_sent_whatever_the_settings_are_by_now(chat: Chat, stack: FakeStack) -> None:
    code = chat.page.locator("#code-python .cm-content")
    tab(chat, "View code").click()
    expect(code).to_contain_text("Send a message")
    tab(chat, "Chat").click()
    converse(chat)
    chat.system_prompt.fill("Something else.")
    choose_sampling(chat, "Temperature", "1.5")
    tab(chat, "View code").click()
    expect(code).to_contain_text("client.chat.completions.create(")
    expect(code).to_contain_text("temperature=0.5")
    expect(code).not_to_contain_text("Something else.")
    expect(chat.page.get_by_role("link", name="image-1.png")).to_be_visible()
    with chat.page.expect_download() as download:
        chat.page.get_by_role("link", name="image-1.png").click()
    assert PIL.Image.open(download.value.path()).size == (60, 40)
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab(chat, "JSON").click()
    chat.page.locator("#code-json").get_by_role("button", name="Copy").click()
    shown = json.loads(chat.page.evaluate("navigator.clipboard.readText()"))
    request = stack.requests[-1]
    url = shown["messages"][-1]["content"][1]["image_url"]
    assert "image-1.png" in url["url"]
    url["url"] = request["messages"][-1]["content"][1]["image_url"]["url"]
    assert shown == request


def test_view_code_shows_what_was_sent_for_a_reply_that_was_stopped_before_it_began(
    chat: Chat, stack: FakeStack
) -> None:
    hold = Hold()
    stack.enqueue(hold, "Never")
    chat.system_prompt.fill("Be brief.")
    chat.send("Tell me a story.")
    assert hold.reached.wait(SECONDS)
    chat.stop_button.click()
    chat.at_rest()
    expect(chat.said).to_have_text(["Tell me a story."])
    chat.system_prompt.fill("Something else.")
    tab(chat, "View code").click()
    code = chat.page.locator("#code-python .cm-content")
    expect(code).to_contain_text("Tell me a story.")
    expect(code).to_contain_text("Be brief.")
    expect(code).to_contain_text(f'model="{MODEL}"')


def test_a_replay_stands_beside_the_conversation_with_the_differences_marked(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("The moon ", "hangs ", "low.")
    chat.ask("A poem?")
    chat.ask("Another?")
    chat.system_prompt.fill("You are shakespeare.")
    tab(chat, "Compare").click()
    stack.enqueue("The moon ", "hangs ", "high.")
    chat.page.get_by_role("button", name="Replay", exact=True).click()
    shown = chat.page.locator("#comparison")
    expect(shown.locator("ins")).to_have_text(["high"])
    expect(shown.locator("del")).to_have_text(["low"])
    expect(shown.locator(".asked")).to_have_text(["A poem?", "Another?"])
    expect(shown.locator(".answer", has_text="tokens in")).to_have_count(4)
    expect(shown.locator("header")).to_contain_text(["You are a friendly assistant.", "You are shakespeare."])
    before, after = stack.requests[1], stack.requests[3]
    assert [item["content"] for item in after["messages"]] == [
        "You are shakespeare.", "A poem?", "The moon hangs high.", "Another?",
    ]  # fmt: skip
    assert after | {"messages": before["messages"]} == before
    tab(chat, "Chat").click()
    expect(chat.replies).to_have_count(2)


def test_two_models_answer_one_message_both_at_once(chat: Chat, stack: FakeStack) -> None:
    stack.models.append(OTHER_MODEL)
    chat.ask("Not this one.")
    tab(chat, "Compare").click()
    compare_with(chat.page, "fake/other", "Which of you is faster?")
    holds = Hold(), Hold()
    replies = [stack.enqueue(f"I am {name}", hold, ".") for name, hold in zip("ab", holds, strict=True)]
    chat.button("Ask both").click()
    assert all(hold.reached.wait(SECONDS) for hold in holds)
    shown = chat.page.locator("#comparison .answer")
    expect(shown).to_contain_text(["I am", "I am"])
    for hold in holds:
        hold.release.set()
    expect(shown).to_contain_text(["3 out", "3 out"])
    assert {request["model"] for request in stack.requests[-2:]} == {"fake/llama", "fake/other"}
    for request in stack.requests[-2:]:
        assert [item["content"] for item in request["messages"]][1:] == ["Which of you is faster?"]
    assert all(reply.ended.is_set() for reply in replies)


def test_stop_ends_both_sides_of_a_comparison_and_keeps_what_came(chat: Chat, stack: FakeStack) -> None:
    tab(chat, "Compare").click()
    compare_with(chat.page, "fake/llama", "Hi")
    holds = Hold(), Hold()
    replies = [stack.enqueue("Once", hold) for hold in holds]
    chat.button("Ask both").click()
    assert all(hold.reached.wait(SECONDS) for hold in holds)
    shown = chat.page.locator("#comparison .answer")
    expect(shown).to_contain_text(["Once", "Once"])
    chat.page.locator("#compare-stop").click()
    for hold in holds:
        hold.release.set()
    assert all(reply.ended.wait(SECONDS) for reply in replies)
    expect(shown).to_contain_text(["Once", "Once"])


def compare_with(page: Page, model: str, message: str) -> None:
    page.get_by_role("textbox", name="Message to both").fill(message)
    second = page.locator("#compare-second input")
    second.fill(model)
    second.press("Enter")


SHOWN = {"View code": "#code-python .cm-content", "Time": "#took .bar", "Compare": "#comparison .answer"}


@pytest.mark.parametrize("name", SHOWN)
def test_every_tab_fits_a_phone(chat: Chat, stack: FakeStack, name: str) -> None:
    chat.page.set_viewport_size(NARROW)
    stack.enqueue("x" * 400)
    chat.ask("y" * 400)
    tab(chat, name).click()
    if name == "Compare":
        chat.page.get_by_role("button", name="Replay", exact=True).click()
    expect(chat.page.locator(SHOWN[name]).first).to_be_visible()
    assert chat.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


LOOKS = [
    (WIDE, "light", "wide"),
    (WIDE, "dark", "wide-dark"),
    (NARROW, "light", "narrow"),
    (NARROW, "dark", "narrow-dark"),
]
REPLIES = [
    "The moon hangs low over the hill, a lamp for late travellers.\nIt asks for nothing, and lights the road.",
    "The moon, fair lady, hangs low o'er the hill, a lamp for travellers.\nShe asks for naught, and lights the road.",
]


def paced(stack: FakeStack, text: str) -> None:
    """A reply that takes its time, so that its numbers in the pictures look like those of a model."""
    texts = re.findall(r"\S+\s*", text)
    pauses = [Hold() for _ in texts]
    stack.enqueue(*[item for text, pause in zip(texts, pauses, strict=True) for item in (pause, text)])
    stack.replies[-1].items.append({"choices": [], "usage": {"prompt_tokens": 32, "completion_tokens": len(texts)}})

    def release() -> None:
        for pause in pauses:
            pause.reached.wait(SECONDS)
            time.sleep(0.25 if pause is pauses[0] else 0.03)
            pause.release.set()

    threading.Thread(target=release, daemon=True).start()


@pytest.mark.parametrize(("size", "scheme", "name"), LOOKS, ids=[look[2] for look in LOOKS])
def test_the_tabs_look_right_and_screenshots_are_made(
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

    def shot(what: str, ready: str) -> None:
        expect(page.locator(ready).last).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        if request.config.getoption("--screenshots"):
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(600)  # colours come a while after the code
            page.screenshot(path=ROOT / "docs" / "screenshots" / f"{what}-{name}.png")

    paced(stack, REPLIES[0])
    chat.ask("hello world, write me a 2 sentence poem about the moon")
    tab(chat, "View code").click()
    shot("code", "#code-python .cm-content")
    tab(chat, "Time").click()
    shot("time", "#took .bar")
    chat.system_prompt.fill("You are shakespeare.")
    tab(chat, "Compare").click()
    paced(stack, REPLIES[1])
    page.get_by_role("button", name="Replay", exact=True).click()
    shot("compare", "#comparison ins")
    page.close()
