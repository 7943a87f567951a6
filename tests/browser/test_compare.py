"""A second answer beside the first, and the whole conversation answered again."""

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.support import SECONDS
from tests.support.chromium import HELLO, SYSTEM, Chat, messages, open_chat
from tests.support.fake_stack import MODEL, FakeStack, Hold
from tests.support.relay import relay

pytestmark = pytest.mark.browser


def second(chat: Chat) -> Locator:
    return chat.page.locator("#second-answer .bot.message")


def test_a_second_answer_streams_beside_the_first_and_can_be_kept(chat: Chat, stack: FakeStack) -> None:
    chat.set_sampling("Temperature", "0.5")
    stack.enqueue("The moon hangs **low**.")
    chat.ask("A poem?")
    chat.ask("Another?")
    chat.set_sampling("Temperature", "1.5")  # not that of the reply
    stack.enqueue("The moon hangs ", hold := Hold(), "**high**.")
    chat.conversation.get_by_label("Compare this reply").first.click()
    chat.page.locator("#picker").get_by_role("option", name="Shakespeare").click()
    expect(second(chat)).to_contain_text("The moon hangs")
    expect(chat.page.locator("#compare-stop")).to_be_visible()
    hold.release.set()
    expect(second(chat).locator("strong")).to_have_text("high")
    expect(chat.page.locator("#first-answer .bot.message strong")).to_have_text("low")
    expect(chat.page.locator("#compare-stop")).not_to_be_visible()
    assert messages(stack) == [("system", "You are shakespeare."), ("user", "A poem?")]
    assert stack.requests[-1]["temperature"] == 0.5
    chat.page.get_by_label("Differences").check()
    expect(chat.page.locator("#differences ins")).to_contain_text(["high"])
    expect(chat.page.locator("#differences del")).to_contain_text(["low"])
    chat.button("Keep this answer").click()
    expect(chat.replies).to_have_text(["The moon hangs high.", "Hello there."])
    expect(chat.toast).to_contain_text("The settings are as they were.")
    chat.ask("A third?")
    said = [("user", "A poem?"), ("assistant", "The moon hangs **high**."), ("user", "Another?"), HELLO]
    assert messages(stack) == [SYSTEM, *said, ("user", "A third?")]
    chat.page.reload()
    expect(chat.replies.first).to_have_text("The moon hangs high.")


def test_another_model_or_the_same_again_answers_with_the_settings_of_the_reply(chat: Chat, stack: FakeStack) -> None:
    stack.models.append(stack.models[0] | {"id": "fake/other"})
    chat.refresh()
    chat.ask("Which of you is faster?")
    chat.compare("fake/other")
    expect(second(chat)).to_have_text("Hello there.")
    assert [request["model"] for request in stack.requests] == [MODEL, "fake/other"]
    assert stack.requests[0] | {"model": "fake/other"} == stack.requests[1]
    chat.button("Another…").click()
    chat.page.locator("#picker").get_by_role("option", name="Same again").click()
    expect(chat.page.locator("#compare-stop")).not_to_be_visible()
    expect(second(chat)).to_have_text("Hello there.")
    chat.button("Close the comparison").click()
    expect(chat.box).to_be_focused()
    expect(chat.replies).to_have_count(1)
    assert stack.requests[2] == stack.requests[0]


def test_stop_ends_the_second_answer_and_keeps_its_text(chat: Chat, stack: FakeStack) -> None:
    chat.ask("Hi")
    reply = stack.enqueue("Once", Hold())
    chat.compare("Same again")
    expect(second(chat)).to_contain_text("Once")
    chat.page.locator("#compare-stop").click()
    assert reply.ended.wait(SECONDS)
    expect(second(chat)).to_contain_text("Once")
    chat.button("Keep this answer").click()
    expect(chat.replies).to_have_text(["Once"])


def test_what_came_of_a_second_answer_stays_when_the_connection_is_lost(
    browser: Browser, url: str, stack: FakeStack
) -> None:
    with relay(url) as connection, open_chat(browser, connection.url) as chat:
        chat.ask("Hi")
        stack.enqueue("Once", Hold())
        chat.compare("Same again")
        expect(second(chat)).to_contain_text("Once")
        connection.cut()
        expect(chat.toast).to_have_text("The connection to this page's server was lost.")
        expect(chat.page.locator("#compare-stop")).not_to_be_visible()
        chat.button("Keep this answer").click()
        expect(chat.replies).to_have_text(["Once"])


def test_replay_shows_both_replies_with_their_differences(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("The moon ", "hangs ", "low.")
    chat.ask("A poem?")
    chat.ask("Another?")
    chat.choose_preset("Shakespeare")
    stack.enqueue("The moon ", "hangs ", "high.")
    chat.choose_in_menu("Replay with the current settings")
    comparison = chat.page.locator("#differences")
    expect(comparison.locator("ins")).to_have_text(["high"])
    expect(comparison.locator("del")).to_have_text(["low"])
    expect(comparison.locator(".question")).to_have_text(["A poem?", "Another?"])
    expect(comparison.locator(".answer", has_text="tokens in")).to_have_count(4)
    expect(comparison.locator("header")).to_contain_text(["You are a friendly assistant.", "You are shakespeare."])
    before, after = stack.requests[1], stack.requests[3]
    texts = [item["content"] for item in after["messages"]]
    assert texts == ["You are shakespeare.", "A poem?", "The moon hangs high.", "Another?"]
    assert after | {"messages": before["messages"]} == before
    chat.button("Close the comparison").click()
    expect(chat.replies).to_have_count(2)


def test_a_comparison_is_of_its_own_chat_and_only_an_answer_can_be_kept(chat: Chat, stack: FakeStack) -> None:
    chat.ask("One")
    stack.enqueue(status=500, body={"detail": "The engine is on fire."})
    chat.compare("Same again")
    expect(second(chat)).to_contain_text("on fire")
    expect(chat.button("Keep this answer")).to_be_disabled()
    expect(chat.page.locator("#second-answer").get_by_role("button", name="Retry")).to_have_count(0)
    chat.page.keyboard.press("Control+Shift+o")
    expect(chat.page.locator("#compare")).not_to_be_visible()
    chat.button("One", exact=True).click()
    expect(chat.replies).to_have_text(["Hello there."])
