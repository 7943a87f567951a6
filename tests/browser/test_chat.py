"""The real app in a real Chromium. `pytest --browser`; with `--screenshots` the pictures in docs/ are made anew."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, ViewportSize, expect

from tests.support.app_process import ROOT, AppProcess
from tests.support.bad_servers import HTML, Address, RawServer
from tests.support.chromium import HELLO, NARROW, SECONDS, SYSTEM, WIDE, Chat, opened, sent
from tests.support.fake_stack import Break, FakeStack, Hold
from tests.support.servers.recorded import RecordedServer

pytestmark = pytest.mark.browser
StartApp = Callable[..., AppProcess]


def test_stop_in_mid_reply_keeps_what_came_and_ends_the_request(chat: Chat, stack: FakeStack) -> None:
    hold = Hold()
    reply = stack.enqueue("half a ", hold)
    chat.send("one")
    expect(chat.replies.last).to_contain_text("half a")
    chat.stop_button.click()
    assert reply.ended.wait(SECONDS)
    chat.ask("two")
    assert sent(stack) == [SYSTEM, ("user", "one"), ("assistant", "half a "), ("user", "two")]


def test_stop_before_the_first_token_ends_the_request_and_joins_the_question_with_the_next(
    chat: Chat, stack: FakeStack
) -> None:
    reply = stack.enqueue(Hold())
    chat.send("one")
    expect(chat.replies.last).to_contain_text("Waiting for the first token")
    chat.stop_button.click()
    assert reply.ended.wait(SECONDS)
    expect(chat.replies).to_have_count(0)
    chat.ask("two")
    assert sent(stack) == [SYSTEM, ("user", "one\n\ntwo")]
    expect(chat.page.get_by_text("Waiting")).to_have_count(0)


@pytest.mark.parametrize("items", [[], ["some text"]], ids=["before the first token", "in mid-reply"])
def test_closing_the_tab_ends_the_request(chat: Chat, stack: FakeStack, items: list[str]) -> None:
    hold = Hold()
    reply = stack.enqueue(*items, hold)
    chat.send("one")
    assert hold.reached.wait(SECONDS)
    expect(chat.replies.last).to_contain_text(items[0] if items else "Waiting")
    chat.page.goto("about:blank")
    assert reply.ended.wait(SECONDS)


def test_retry_undo_and_edit_send_what_the_page_shows(chat: Chat, stack: FakeStack) -> None:
    chat.ask("one")
    chat.ask("two")
    two = [SYSTEM, ("user", "one"), HELLO, ("user", "two")]
    assert sent(stack) == two
    stack.enqueue("Another.")
    chat.press("Retry")
    expect(chat.replies.last).to_contain_text("Another.")
    chat.at_rest()
    assert sent(stack) == two
    chat.press("Undo")
    expect(chat.box).to_have_value("two")
    chat.ask("three")
    assert sent(stack) == [SYSTEM, ("user", "one"), HELLO, ("user", "three")]
    chat.press("Edit")
    chat.page.locator("#conversation textarea").fill("three, edited")
    hold = Hold()
    reply = stack.enqueue("partly", hold)
    chat.press("Submit")
    expect(chat.replies.last).to_contain_text("partly")
    assert sent(stack) == [SYSTEM, ("user", "one"), HELLO, ("user", "three, edited")]
    chat.stop_button.click()
    assert reply.ended.wait(SECONDS)
    chat.ask("four")
    assert sent(stack)[-3:] == [("user", "three, edited"), ("assistant", "partly"), ("user", "four")]
    chat.press("Clear")
    chat.ask("five")
    assert sent(stack) == [SYSTEM, ("user", "five")]


def test_what_was_written_is_sent_as_it_was_on_later_turns_too(chat: Chat, stack: FakeStack) -> None:
    written = "  if a:\n      print('<b>')  # `x` $y$ 😀"
    stack.enqueue(written)
    chat.box.fill(written)
    chat.box.press("Enter")
    expect(chat.replies.last).to_contain_text("print")
    chat.at_rest()
    chat.ask("two")
    assert sent(stack) == [SYSTEM, ("user", written), ("assistant", written), ("user", "two")]


def test_after_a_failure_the_partial_reply_stays_and_the_next_message_works(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("half a ", {"error": {"message": "<img src=x onerror=alert(1)>"}})
    chat.ask("one")
    expect(chat.replies.last).to_contain_text("half a ")
    expect(chat.replies.last).to_contain_text("<img src=x onerror=alert(1)>")
    chat.ask("two")
    assert sent(stack) == [SYSTEM, ("user", "one"), ("assistant", "half a "), ("user", "two")]


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AppProcess, Address]]:
    """An app that waits a second at most, and the address at which it looks for its server."""
    address = Address()
    arguments = ("--base-url", address.url, "--timeout", "1")
    with AppProcess(arguments, {}, tmp_path_factory.mktemp("impatient")) as app:
        yield app, address
    address.clear()


# What goes wrong, what comes of the reply, and what is told behind it.
FAILURES: dict[str, tuple[Callable[[Address, FakeStack], object], str, str]] = {
    "the server gone": (lambda address, _: address.clear(), "", "Can't reach"),
    "another web server in its place": (
        lambda address, _: address.put(RawServer, HTML),
        "",
        "does not speak Llama Stack",
    ),
    "an unknown model": (
        lambda _, stack: stack.models.append(stack.models.pop(0) | {"id": "fake/lama"}),
        "",
        "The server has no model fake/llama. The closest that it has is fake/lama",
    ),
    "a stall": (lambda _, stack: stack.enqueue("half a ", Hold()), "half a ", "The reply stalled: nothing came for"),
    "the connection lost": (
        lambda _, stack: stack.enqueue("half a ", Break()),
        "half a ",
        "was lost in the middle of the reply",
    ),
    "too many requests": (
        lambda _, stack: stack.enqueue(
            status=429, body={"error": {"message": "Slow down."}}, headers={"Retry-After": "7"}
        ),
        "",
        "The server is busy (429): Slow down.. Try again in 7 seconds.",
    ),
    "a content filter": (
        lambda _, stack: stack.enqueue("half a ", finish_reason="content_filter"),
        "half a ",
        "A content filter stopped the reply.",
    ),
    "markup in the server's words": (
        lambda _, stack: stack.enqueue(status=500, body={"detail": "<img src=x onerror=alert(1)> `**b** <b>b</b>"}),
        "",
        "The server failed (500): <img src=x onerror=alert(1)> '**b** <b>b</b>.",
    ),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_after_a_failure_retry_works_and_so_does_the_next_message(
    browser: Browser, impatient: tuple[AppProcess, Address], failure: tuple[Callable[..., Any], str, str]
) -> None:
    app, address = impatient
    begin, partial, told = failure
    stack = address.put(FakeStack)
    with opened(browser, app.url) as chat:
        chat.ask("zero")
        begin(address, stack)
        chat.ask("one")
        expect(chat.replies.last).to_contain_text(re.compile(f"^{partial}.*{re.escape(told)}", re.DOTALL))
        expect(chat.conversation.locator("img, b, strong")).to_have_count(0)
        stack = address.put(FakeStack)
        chat.press("Retry")
        expect(chat.replies.last).to_have_text("Hello there.")
        expect(chat.conversation).not_to_contain_text(told)
        chat.at_rest()
        assert sent(stack) == [SYSTEM, ("user", "zero"), HELLO, ("user", "one")]
        begin(address, stack)
        chat.ask("two")
        expect(chat.replies.last).to_contain_text(told)
        stack = address.put(FakeStack)
        chat.ask("three")
        expect(chat.replies.last).to_have_text("Hello there.")
    asked = [("user", "two"), ("assistant", partial), ("user", "three")] if partial else [("user", "two\n\nthree")]
    assert sent(stack) == [SYSTEM, ("user", "zero"), HELLO, ("user", "one"), HELLO, *asked]


def test_a_server_of_another_generation_in_its_place_answers_the_next_message(
    browser: Browser, impatient: tuple[AppProcess, Address]
) -> None:
    app, address = impatient
    stack = address.put(FakeStack)
    stack.models = [stack.models[0] | {"id": "engine/tiny"}]
    with opened(browser, app.url) as chat:
        expect(chat.status).to_contain_text("OGX 1.5.0")
        chat.ask("one")
        old = address.put(RecordedServer)
        chat.ask("two")
        expect(chat.replies.last).to_contain_text("tok0 tok1 tok2")
        expect(chat.replies.last).to_contain_text("This server's name for the model engine/tiny is tiny.")
        expect(chat.status).to_contain_text("Llama Stack 0.1.9")
        chat.ask("three")
        stack = address.put(FakeStack)
        stack.models = [stack.models[0] | {"id": "engine/tiny"}]
        chat.ask("four")
        expect(chat.replies.last).to_contain_text("Hello there.")
        expect(chat.status).to_contain_text("OGX 1.5.0")
    said = [message["content"] for message in old.requests[-1]["messages"]]
    assert said[1:] == ["one", "Hello there.", "two", "tok0 tok1 tok2 ", "three"]
    assert [text for _, text in sent(stack)][-3:] == ["three", "tok0 tok1 tok2 ", "four"]


def test_the_status_line_follows_the_server(browser: Browser, impatient: tuple[AppProcess, Address]) -> None:
    app, address = impatient
    address.clear()
    with opened(browser, app.url) as chat:
        gone, there = chat.status.locator(".error"), chat.status.locator(".ready")
        expect(gone).to_contain_text(f"Can't reach {address.url}.")
        address.put(FakeStack)
        chat.ask("one")
        expect(there).to_contain_text(f"OGX 1.5.0 at {address.url}")
        address.clear()
        chat.ask("two")
        expect(gone).to_contain_text("Can't reach")
        address.put(FakeStack)
        chat.button("Refresh models").click()
        expect(there).to_contain_text("OGX 1.5.0")


def test_the_connection_can_be_checked_step_by_step(browser: Browser, impatient: tuple[AppProcess, Address]) -> None:
    app, address = impatient
    address.put(FakeStack)
    with opened(browser, app.url) as chat:
        check, findings = chat.button("Check the connection"), chat.page.locator("#findings li")
        check.click()
        steps = ["Address", "Name", "Connection", "HTTP", "Server", "Models", "Key", "Reply"]
        expect(findings).to_have_text([re.compile(step) for step in steps])
        expect(chat.page.locator("#findings li.ready")).to_have_count(len(steps))
        address.clear()
        check.click()
        check.click()
        expect(findings).to_have_text(
            [
                re.compile("Address"),
                re.compile("Name"),
                f"Connection Can't reach {address.url}. Is the server running?",
            ]
        )
        expect(findings.last).to_have_class(re.compile("error"))


def test_a_value_that_a_component_refuses_does_not_lock_the_page(chat: Chat, stack: FakeStack) -> None:
    # What Gradio itself refuses never reaches the chat function; here its request is spoilt on the way.
    chat.page.route("**/gradio_api/queue/join*", lambda route: route.fulfill(status=500), times=1)
    chat.send("one")
    chat.at_rest()
    chat.ask("two")
    assert sent(stack)[-1][1].endswith("two")


def test_blank_and_long_messages_stay_in_the_box(chat: Chat, stack: FakeStack) -> None:
    chat.send("   ")
    expect(chat.page.get_by_text("Type something to send.")).to_be_visible()
    chat.send("x" * 32_001)
    expect(chat.page.get_by_text("The message has 32,001 characters")).to_be_visible()
    expect(chat.box).to_have_value("x" * 32_001)
    assert stack.requests == []
    chat.ask("short")
    assert sent(stack) == [SYSTEM, ("user", "short")]


def test_a_message_that_is_not_sent_covers_nothing(chat: Chat, stack: FakeStack) -> None:
    chat.ask("one")
    chat.send("x" * 32_001)
    expect(chat.page.get_by_role("alert")).to_be_in_viewport()
    expect(chat.replies.last).to_contain_text("Hello there.")
    expect(chat.page.get_by_text("Error", exact=True)).to_have_count(0)
    chat.ask("two")
    expect(chat.page.get_by_role("alert")).to_have_count(0)


def test_enter_pressed_twice_sends_a_message_once(chat: Chat, stack: FakeStack) -> None:
    hold = Hold()
    stack.enqueue("begun ", hold)
    chat.box.fill("one")
    # In the page itself: nothing that drives a browser from outside is as fast as a nervous finger.
    press = 'new KeyboardEvent("keypress", {key: "Enter", bubbles: true, cancelable: true})'
    chat.box.evaluate(f"(box) => {{ box.dispatchEvent({press}); box.dispatchEvent({press}); }}")
    expect(chat.replies.last).to_contain_text("begun")
    hold.release.set()
    chat.at_rest()
    expect(chat.said).to_have_count(1)
    assert len(stack.requests) == 1


def test_who_finds_the_room_full_is_told_the_place_and_answered_in_turn(
    browser: Browser, stack: FakeStack, tmp_path: Path
) -> None:
    hold = Hold()
    stack.enqueue("begun ", hold)
    arguments = ("--base-url", stack.url, "--max-visitors", "1")
    with (
        AppProcess(arguments, {}, tmp_path) as app,
        opened(browser, app.url) as first,
        opened(browser, app.url) as second,
    ):
        first.send("one")
        expect(first.replies.last).to_contain_text("begun")
        second.send("two")
        expect(second.replies.last).to_contain_text("You are number 1 in line: one visitor is being answered")
        hold.release.set()
        expect(second.replies.last).to_contain_text("Hello there.")
        expect(second.page.get_by_text("in line")).to_have_count(0)


def test_settings_apply_from_the_next_message_on(chat: Chat, stack: FakeStack) -> None:
    chat.ask("one")
    assert stack.requests[-1].keys() == {"model", "messages", "stream", "stream_options"}
    chat.button("Shakespeare").click()
    expect(chat.system_prompt).to_have_value("You are shakespeare.")
    chat.page.get_by_text("Sampling").click()
    chat.page.get_by_role("textbox", name="Temperature").fill("0.5")
    chat.page.get_by_role("textbox", name="Max tokens").fill("12")
    chat.ask("two")
    assert sent(stack)[0] == ("system", "You are shakespeare.")
    assert (stack.requests[-1]["temperature"], stack.requests[-1]["max_tokens"]) == (0.5, 12)
    assert "top_p" not in stack.requests[-1] and "seed" not in stack.requests[-1]


def test_models_can_be_refreshed_and_an_id_typed(chat: Chat, stack: FakeStack) -> None:
    expect(chat.status).to_contain_text(f"OGX 1.5.0 at {stack.url}, 1 chat model")
    stack.models.append(stack.models[0] | {"id": "fake/new"})
    chat.button("Refresh models").click()
    expect(chat.status).to_contain_text("2 chat models")
    model = chat.page.locator("#model input")
    model.fill("fake/new")
    model.press("Enter")
    chat.ask("one")
    assert stack.requests[-1]["model"] == "fake/new"
    model.fill("fake/unknown")
    model.press("Enter")
    chat.ask("two")
    expect(chat.replies.last).to_contain_text("The server has no model fake/unknown")


def test_the_keyboard_alone_suffices(chat: Chat, stack: FakeStack) -> None:
    expect(chat.box).to_be_focused()
    chat.page.keyboard.type("one")
    chat.page.keyboard.press("Enter")
    expect(chat.replies.last).to_contain_text("Hello there.")
    expect(chat.box).to_be_focused(timeout=SECONDS * 1000)
    hold = Hold()
    reply = stack.enqueue("half ", hold)
    chat.page.keyboard.type("two")
    chat.page.keyboard.press("Enter")
    expect(chat.replies.last).to_contain_text("half")
    reach(chat, chat.stop_button)
    chat.page.keyboard.press("Enter")
    assert reply.ended.wait(SECONDS)
    for control in (chat.system_prompt, chat.button("Shakespeare"), chat.button("Refresh models")):
        reach(chat, control)


def reach(chat: Chat, control: Locator) -> None:
    """Presses Tab until the control has the focus."""
    for _ in range(60):
        if control.evaluate("(element) => element === document.activeElement"):
            return
        chat.page.keyboard.press("Tab")
    raise AssertionError("it cannot be reached with Tab")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_everything_fits_into_the_page(chat: Chat, stack: FakeStack, size: ViewportSize) -> None:
    chat.page.set_viewport_size(size)
    stack.enqueue("A long word: " + "x" * 400 + "\n\n```\n" + "y" * 400 + "\n```")
    chat.ask("one")
    assert chat.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    for part in (chat.system_prompt, chat.box, chat.page.locator("#model input")):
        part.scroll_into_view_if_needed()
        expect(part).to_be_in_viewport()


@pytest.mark.real_stack
def test_the_real_local_stack_answers_in_the_page_and_screenshots_are_made(
    browser: Browser, start_app: StartApp, request: pytest.FixtureRequest
) -> None:
    app = start_app()
    for name, size, scheme in (("screenshot", WIDE, "light"), ("screenshot-phone", NARROW, "dark")):
        page = browser.new_page(viewport=size, color_scheme=scheme)
        chat = Chat(page, app.url)
        expect(chat.status).to_contain_text("tiny demonstration model", timeout=60_000)
        expect(chat.status.locator("[data-blind]")).to_be_visible()  # it takes no pictures, and the page knows
        page.get_by_text("Sampling").click()
        page.get_by_role("textbox", name="Max tokens").fill("100")
        page.get_by_text("Sampling").click()
        page.get_by_text("Write a two-sentence poem about llama.").click()
        expect(page.get_by_label("Retry", exact=True)).to_be_enabled(timeout=60_000)
        chat.at_rest()
        if request.config.getoption("--screenshots"):
            page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            page.screenshot(path=ROOT / "docs" / f"{name}.png")
        page.close()
