"""The "Compare" tab."""

import pytest
from playwright.sync_api import expect

from tests.support import SECONDS
from tests.support.chromium import Chat
from tests.support.fake_stack import MODEL, FakeStack, Hold

pytestmark = pytest.mark.browser


def test_replay_shows_both_replies_with_their_differences(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue("The moon ", "hangs ", "low.")
    chat.ask("A poem?")
    chat.ask("Another?")
    chat.system_prompt.fill("You are shakespeare.")
    chat.open_tab("Compare")
    stack.enqueue("The moon ", "hangs ", "high.")
    chat.button("Replay", exact=True).click()
    comparison = chat.page.locator("#comparison")
    expect(comparison.locator("ins")).to_have_text(["high"])
    expect(comparison.locator("del")).to_have_text(["low"])
    expect(comparison.locator(".question")).to_have_text(["A poem?", "Another?"])
    expect(comparison.locator(".answer", has_text="tokens in")).to_have_count(4)
    expect(comparison.locator("header")).to_contain_text(["You are a friendly assistant.", "You are shakespeare."])
    before, after = stack.requests[1], stack.requests[3]
    texts = [item["content"] for item in after["messages"]]
    assert texts == ["You are shakespeare.", "A poem?", "The moon hangs high.", "Another?"]
    assert after | {"messages": before["messages"]} == before
    chat.open_tab("Chat")
    expect(chat.replies).to_have_count(2)


def ask_both(chat: Chat, model: str, message: str) -> None:
    chat.open_tab("Compare")
    chat.page.get_by_role("textbox", name="Message to both").fill(message)
    second = chat.page.locator("#compare-second input")
    second.fill(model)
    second.press("Enter")
    chat.button("Ask both").click()


def test_ask_both_sends_one_message_to_two_models_at_once(chat: Chat, stack: FakeStack) -> None:
    stack.models.append(stack.models[0] | {"id": "fake/other"})
    chat.ask("Not this one.")
    holds = Hold(), Hold()
    for name, hold in zip("ab", holds, strict=True):
        stack.enqueue(f"I am {name}", hold, ".")
    ask_both(chat, "fake/other", "Which of you is faster?")
    assert all(hold.reached.wait(SECONDS) for hold in holds)
    answers = chat.page.locator("#comparison .answer")
    expect(answers).to_contain_text(["I am", "I am"])
    for hold in holds:
        hold.release.set()
    expect(answers).to_contain_text(["3 out", "3 out"])
    assert {request["model"] for request in stack.requests[-2:]} == {MODEL, "fake/other"}
    for request in stack.requests[-2:]:
        assert [item["content"] for item in request["messages"]][1:] == ["Which of you is faster?"]


def test_stop_ends_both_replies_and_keeps_their_text(chat: Chat, stack: FakeStack) -> None:
    replies = [stack.enqueue("Once", Hold()) for _ in range(2)]
    ask_both(chat, MODEL, "Hi")
    answers = chat.page.locator("#comparison .answer")
    expect(answers).to_contain_text(["Once", "Once"])
    chat.page.locator("#compare-stop").click()
    assert all(reply.ended.wait(SECONDS) for reply in replies)
    expect(answers).to_contain_text(["Once", "Once"])
