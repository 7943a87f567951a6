"""What is under "Request": what it sends, what the page shows of it, and what it says about what cannot be sent."""

import json
import math
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.support.chromium import SYSTEM, Chat, messages
from tests.support.fake_stack import FakeStack, Hold

pytestmark = pytest.mark.browser
LIKELY = ((" city", 0.3), (" was", 0.15), ("\n", 0.04), (" <b>", 0.0001))
PARIS = (("The", 0.99), (" capital", 0.8), (" is", 0.5), (" **", 0.2), ("Paris", 0.97), ("**", 0.9), (".", 0.05))


def chunk(text: str, index: int = 0, end: str | None = None, **more: object) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": end, **more}]}


def token(text: str, chance: float) -> dict[str, Any]:
    """A chunk with one token and five that are likely in its place."""
    top = [{"token": other, "logprob": math.log(share)} for other, share in ((text, chance), *LIKELY)]
    return chunk(text, logprobs={"content": [{"token": text, "logprob": math.log(chance), "top_logprobs": top}]})


def open_request(chat: Chat) -> Locator:
    chat.open_tab("Settings")
    chat.page.locator("#request .label-wrap").click()
    request = chat.page.locator("#request")
    expect(request.get_by_label("JSON schema")).to_be_visible()
    return request


def ask_with_probabilities(chat: Chat, stack: FakeStack) -> Locator:
    """Ask for a reply with its tokens' probabilities. Returns the tokens."""
    request = open_request(chat)
    request.get_by_label("Token probabilities").click()
    chat.page.get_by_role("option", name="On", exact=True).click()
    stack.enqueue(*[token(*pair) for pair in PARIS])
    chat.ask("What is the capital of France?")
    tokens = chat.conversation.locator(".tokens span")
    expect(tokens).to_have_count(len(PARIS))
    return tokens


def test_tokens_are_shaded_and_show_what_else_was_likely(chat: Chat, stack: FakeStack) -> None:
    tokens = ask_with_probabilities(chat, stack)
    assert (stack.requests[-1]["logprobs"], stack.requests[-1]["top_logprobs"]) == (True, 5)
    assert tokens.all_text_contents() == [text for text, _ in PARIS]
    levels = [int(level) for level in tokens.evaluate_all("tokens => tokens.map(token => token.dataset.level)")]
    assert levels == [0, 1, 2, 4, 0, 0, 5]
    expect(chat.conversation.locator(".prose strong")).to_be_hidden()
    numbers = chat.conversation.locator("[data-stats*=probability]")
    assert "probability 63% mean, 5.0% lowest" in (numbers.get_attribute("data-stats") or "")
    tokens.nth(3).hover()
    likely = chat.page.locator("#alternatives")
    assert likely.get_by_role("button").all_text_contents() == [
        " **20 %",
        " city30 %",
        " was15 %",
        "↵4.0 %",
        " <b><0.1 %",
    ]
    chat.box.hover()
    expect(likely).to_be_hidden()
    chat.button("Token probabilities", exact=True).click()
    expect(tokens.first).to_be_hidden()
    expect(chat.conversation.locator(".prose strong")).to_have_text("Paris")


def test_tokens_stay_with_their_reply_and_out_of_later_requests(chat: Chat, stack: FakeStack) -> None:
    tokens = ask_with_probabilities(chat, stack)
    chat.ask("And?")
    assert messages(stack)[-2] == ("assistant", "The capital is **Paris**.")
    assert "logprob" not in json.dumps(stack.requests[-1]["messages"])
    chat.page.reload()
    expect(tokens).to_have_count(len(PARIS))
    expect(tokens.first).to_be_visible()
    chat.page.get_by_role("button", name="Undo").last.click()
    expect(chat.questions).to_have_count(1)
    expect(tokens).to_have_count(len(PARIS))


def test_the_keyboard_moves_through_tokens_and_continues_from_another_one(chat: Chat, stack: FakeStack) -> None:
    tokens = ask_with_probabilities(chat, stack)
    assert chat.conversation.locator(".tokens [tabindex='0']").count() == 1
    tokens.first.focus()
    for _ in range(3):
        chat.page.keyboard.press("ArrowRight")
    expect(tokens.nth(3)).to_be_focused()
    chat.page.keyboard.press("ArrowLeft")
    expect(tokens.nth(2)).to_be_focused()
    chat.page.keyboard.press("ArrowDown")
    expect(chat.page.get_by_role("button", name="city")).to_be_focused()
    chat.page.keyboard.press("Escape")
    expect(tokens.nth(2)).to_be_focused()
    chat.page.keyboard.press("ArrowDown")
    stack.enqueue(token(" of", 0.7), token(" light", 0.6))
    chat.page.keyboard.press("Enter")
    expect(tokens).to_have_count(5)
    assert messages(stack)[-1] == ("assistant", "The capital city")
    assert tokens.all_text_contents() == ["The", " capital", " city", " of", " light"]
    expect(chat.stop_button).to_have_count(0)
    tokens.nth(4).hover()
    expect(chat.page.locator("#alternatives").get_by_role("button").nth(1)).to_be_enabled()


@pytest.mark.parametrize("deltas", [("The capital", " city", " of light"), (" of light",)], ids=["repeated", "not"])
def test_a_repeated_prefix_is_cut_off(chat: Chat, stack: FakeStack, deltas: tuple[str, ...]) -> None:
    tokens = ask_with_probabilities(chat, stack)
    tokens.nth(2).hover()
    stack.enqueue(*deltas)
    chat.page.get_by_role("button", name="city").click()
    expect(chat.replies.first).to_have_text("The capital city of light")


def test_a_server_that_begins_a_new_answer_is_told_of_once(chat: Chat, stack: FakeStack) -> None:
    tokens = ask_with_probabilities(chat, stack)
    notice = chat.conversation.get_by_text("This server began a new answer in place of continuing the given one.")
    tokens.nth(2).hover()
    stack.enqueue(*[token(text, 0.5) for text in ("Paris", " is it.")])
    chat.page.get_by_role("button", name="city").click()
    expect(notice).to_have_count(1)
    expect(tokens).to_have_text(["Paris", " is it."])


def test_one_of_four_samples_is_kept(chat: Chat, stack: FakeStack) -> None:
    open_request(chat).get_by_label("Samples").fill("4")
    hold = Hold()
    begun = [chunk(f"Answer *{index}*", index) for index in range(4)]
    stack.enqueue(*begun, hold, *[chunk(" ends.", index, "stop") for index in (2, 0, 3, 1)], finish_reason=None)
    chat.send("Hi")
    samples = chat.page.locator("#samples .bot.message")
    expect(samples).to_have_text([f"Answer {index}" for index in range(4)])
    expect(samples.locator("em").nth(3)).to_have_text("3")
    hold.release.set()
    keep = chat.page.get_by_role("button", name="Keep this answer")
    expect(keep).to_have_count(4)
    assert stack.requests[-1]["n"] == 4
    keep.nth(2).click()
    expect(samples.first).to_be_hidden()
    expect(chat.replies).to_have_text(["Answer 2 ends."])
    open_fold = chat.page.locator("#request")
    open_fold.get_by_label("Samples").fill("")
    chat.ask("And?")
    assert messages(stack)[1:-1] == [("user", "Hi"), ("assistant", "Answer *2* ends.")]


def test_a_server_that_sends_one_is_asked_for_as_many(chat: Chat, stack: FakeStack) -> None:
    stack.models.append(stack.models[0] | {"id": "sends/one"})
    chat.choose_model("sends/one")
    open_request(chat).get_by_label("Samples").fill("3")
    chat.send("Hi")
    expect(chat.page.get_by_role("button", name="Keep this answer")).to_have_count(3)
    assert [request.get("n") for request in stack.requests] == [3, None, None]
    chat.page.get_by_role("button", name="Close the comparison").click()
    expect(chat.replies).to_have_text(["Hello there."])


def test_samples_can_be_stopped(chat: Chat, stack: FakeStack) -> None:
    open_request(chat).get_by_label("Samples").fill("2")
    reply = stack.enqueue(chunk("a"), chunk("b", 1), Hold())
    chat.send("Hi")
    expect(chat.page.locator("#samples .bot.message")).to_have_text(["a", "b"])
    chat.page.locator("#compare-stop").click()
    assert reply.ended.wait(60)
    expect(chat.page.locator("#compare-stop")).to_be_hidden()
    chat.page.get_by_role("button", name="Close the comparison").click()
    expect(chat.replies.first).to_have_text("a")


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"name": "Ada", "age": 36, "occupation": "poet"}', "ℹ️ The reply matches the schema."),
        ('{"name": "Ada", "age": "x", "occupation": ""}', "ℹ️ The reply does not match the schema at age: 'x' is"),
        ("I am Ada.", "ℹ️ The reply is not JSON."),
    ],
)  # fmt: skip
def test_a_reply_is_compared_with_its_schema(chat: Chat, stack: FakeStack, reply: str, verdict: str) -> None:
    request = open_request(chat)
    request.get_by_role("button", name="Person").click()
    expect(request.get_by_label("JSON schema")).to_have_value(json.dumps(PERSON, indent=2))
    stack.enqueue(reply)
    chat.ask("Who are you?")
    form = stack.requests[-1]["response_format"]
    assert form == {"type": "json_schema", "json_schema": {"name": "reply", "schema": PERSON}}
    expect(chat.conversation.locator("[data-kind=ending]")).to_contain_text(verdict)


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "occupation": {"type": "string"}},
    "required": ["name", "age", "occupation"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("label", "text", "problem"),
    [
        ("JSON schema", "{", "JSON schema must be a JSON object."),
        ("JSON schema", '{"type": "objct"}', "JSON schema is not valid at type: 'objct' is not valid under"),
        ("Extra fields", "[1]", "Extra fields must be a JSON object."),
        ("Extra fields", '{"a": NaN}', "Extra fields must be a JSON object."),
        ("Extra fields", '{"model": "x"}', "Extra fields cannot have model, which the app sends itself."),
        ("Extra fields", "x" * 10_000_000, "Extra fields must have at most 20,000 characters, not 10,000,000."),
        ("Stop sequences", "a\nb\nc\nd\ne", "Stop sequences must be at most 4 lines of at most 200 characters"),
        ("Samples", "9", "Samples must be a whole number 1–8, or empty."),
        ("Frequency penalty", "-3", "Frequency penalty must be -2 to 2, or empty."),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_said_at_its_field_and_not_sent(
    chat: Chat, stack: FakeStack, label: str, text: str, problem: str
) -> None:
    request = open_request(chat)
    request.get_by_label(label).fill(text)
    expect(request.locator(".problem", has_text=problem)).to_be_visible()
    chat.send("Hi")
    expect(chat.error).to_contain_text(problem)
    expect(chat.box).to_have_value("Hi")
    assert stack.requests == []
    request.get_by_label(label).fill("")
    expect(request.locator(".problem", has_text=problem)).to_have_count(0)
    chat.ask("Hi")
    assert stack.requests[-1].keys() == {"model", "messages", "stream", "stream_options"}


def test_what_is_set_is_sent_and_marked_at_the_fold(chat: Chat, stack: FakeStack) -> None:
    request = open_request(chat)
    mark = "getComputedStyle(document.querySelector('#request .label-wrap > span'), '::after').content"
    assert chat.page.evaluate(mark) == "none"
    request.get_by_label("Extra fields").fill('{"top_k": 40}')
    request.get_by_label("Stop sequences").fill("END\nSTOP")
    request.get_by_label("Presence penalty").fill("0,5")
    request.get_by_label("Thinking").click()
    chat.page.get_by_role("option", name="Off", exact=True).click()
    chat.ask("Hi")
    options = {name: stack.requests[-1].get(name) for name in ("top_k", "stop", "presence_penalty")}
    assert options == {"top_k": 40, "stop": ["END", "STOP"], "presence_penalty": 0.5}
    assert stack.requests[-1]["chat_template_kwargs"] == {"enable_thinking": False}
    assert chat.page.evaluate(mark) != "none"
    chat.page.get_by_role("button", name="Reset").click()
    expect(request.get_by_label("Extra fields")).to_have_value("")
    assert chat.page.evaluate(mark) == "none"


def test_variables_are_filled_in_before_sending(chat: Chat, stack: FakeStack) -> None:
    chat.open_tab("Settings")
    chat.system_prompt.fill("You speak {{language}}.")
    chat.box.fill("Hi {{ name }}, {{name}}! \\{{this}}")
    field = chat.page.locator("#variables").get_by_label
    expect(chat.page.locator("#variables input")).to_have_count(2)
    chat.box.press("Enter")
    expect(chat.error).to_contain_text("Fill in “language” below the message box")
    expect(field("language")).to_be_focused()
    field("language").fill("French {{x}}")
    field("name").fill("Zoé")
    chat.box.press("Enter")
    expect(chat.error).to_contain_text("The variable “language” cannot contain another one.")
    assert stack.requests == []
    field("language").fill("French")
    chat.box.press("Enter")
    expect(chat.replies).to_have_text(["Hello there."])
    assert messages(stack) == [("system", "You speak French."), ("user", "Hi Zoé, Zoé! {{this}}")]
    expect(chat.system_prompt).to_have_value("You speak {{language}}.")
    field("language").fill("Greek")
    chat.page.get_by_role("button", name="Retry").last.click()
    expect(chat.stop_button).to_have_count(0)
    expect(chat.replies).to_have_text(["Hello there."])
    assert messages(stack)[0] == ("system", "You speak Greek.")


def test_examples_come_before_the_conversation_and_stay_with_their_preset(chat: Chat, stack: FakeStack) -> None:
    request = open_request(chat)
    request.get_by_role("button", name="Add an example").click()
    request.get_by_label("User").fill("2+2?")
    request.get_by_label("Assistant").fill("4")
    chat.ask("3+3?")
    assert messages(stack) == [SYSTEM, ("user", "2+2?"), ("assistant", "4"), ("user", "3+3?")]
    chat.page.get_by_role("button", name="Save", exact=True).click()
    chat.page.locator("#name input").fill("Sums")
    chat.page.keyboard.press("Enter")
    request.get_by_role("button", name="Remove this example").click()
    chat.ask("4+4?")
    assert ("user", "2+2?") not in messages(stack)
    chat.page.get_by_label("Preset", exact=True).select_option(label="Sums")
    expect(request.get_by_label("Assistant")).to_have_value("4")
    chat.page.reload()
    expect(chat.status).not_to_contain_text("Connecting")
    chat.ask("5+5?")
    assert messages(stack)[:3] == [SYSTEM, ("user", "2+2?"), ("assistant", "4")]


def test_what_came_back_is_beside_the_request(chat: Chat, stack: FakeStack) -> None:
    chat.ask("Hi")
    chat.page.get_by_role("button", name="Code of this reply").click()
    chat.page.get_by_role("tab", name="JSON").click()
    response = chat.page.locator("#came-back pre")
    expect(response).to_contain_text("HTTP 200\n")
    expect(response).to_contain_text('"usage": {"prompt_tokens": 7')
    stack.enqueue(status=400, body={"error": {"message": "No such thing."}}, headers={"x-request-id": "r7"})
    chat.send("And?")
    expect(chat.conversation.locator("[data-kind=error]")).to_be_visible()
    chat.page.get_by_role("button", name="Code of this reply").last.click()
    expect(response).to_contain_text("HTTP 400\n")
    expect(response).to_contain_text("x-request-id: r7\n")
    expect(response).to_contain_text('{"error":{"message":"No such thing."}}')


def test_a_server_that_takes_no_notice_is_told_of(chat: Chat, stack: FakeStack) -> None:
    request = open_request(chat)
    request.get_by_label("Token probabilities").click()
    chat.page.get_by_role("option", name="On", exact=True).click()
    request.get_by_label("Stop sequences").fill("there")
    chat.ask("Hi")
    ending = chat.conversation.locator("[data-kind=ending]")
    expect(ending).to_have_text("ℹ️ The server sent no token probabilities. The server did not stop at there.")
