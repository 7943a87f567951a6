"""The picker and the list of chats, with hundreds of entries."""

import pytest
from playwright.sync_api import expect

from tests.support.chromium import Chat
from tests.support.fake_stack import FakeStack

pytestmark = pytest.mark.browser
# Saves chats as the page does, one for each of the last `count` days.
FILL = """async (count) => {
  const opening = indexedDB.open("llama-ui", 1);
  const database = await new Promise((resolve) => (opening.onsuccess = () => resolve(opening.result)));
  const transaction = database.transaction(["listed", "contents"], "readwrite");
  for (let day = 0; day < count; day++) {
    const [id, changed] = [`old-${day}`, Date.now() - day * 86_400_000];
    transaction.objectStore("listed").put({id, title: `Chat about topic ${day}`, changed});
    const content = [{type: "text", text: `Question ${day}`}];
    const history = [{role: "user", metadata: null, content, options: null}];
    transaction.objectStore("contents").put({id, history, settings: {}});
  }
  await new Promise((resolve) => (transaction.oncomplete = resolve));
  database.close();
  dispatchEvent(new Event("focus"));
}"""


@pytest.fixture
def many(stack: FakeStack, chat: Chat) -> Chat:
    stack.models += [stack.models[0] | {"id": f"org-{n % 7}/model-{n}-instruct-{'long-' * 12}name"} for n in range(500)]
    chat.refresh()
    expect(chat.server).to_contain_text("501 chat models")
    return chat


def test_any_of_500_models_is_found_by_any_parts_of_its_name(many: Chat, stack: FakeStack) -> None:
    page = many.page
    options = page.locator("#picker [role=option]")
    page.locator("#model-button").click()
    expect(options).to_have_count(501)
    page.keyboard.type("INSTRUCT 499")
    expect(options).to_have_count(1)
    assert options.first.evaluate("(option) => option.scrollWidth <= option.clientWidth")  # all of it is readable
    page.keyboard.press("Enter")
    expect(many.model).to_contain_text("model-499")
    many.ask("one")
    assert stack.requests[-1]["model"].startswith("org-2/model-499-")
    page.locator("#model-button").click()
    selected = page.locator("#picker [aria-selected=true]")
    expect(selected).to_contain_text("model-499")  # the current one
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowDown"):  # from the last to the first, and so on
        page.keyboard.press(key)
    expect(selected).to_have_count(1)
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Tab")
    expect(page.locator("#picker")).not_to_be_visible()
    expect(many.model).to_contain_text("model-499")


def test_text_that_matches_no_model_is_used_only_when_that_is_chosen(many: Chat, stack: FakeStack) -> None:
    page = many.page
    page.locator("#model-button").click()
    page.keyboard.type("nothing-like-this")
    expect(page.locator("#picker [role=option]")).to_have_text(["Use “nothing-like-this” anyway"])
    page.keyboard.press("Escape")
    expect(many.model).to_have_text("fake/llama")
    page.locator("#model-button").click()
    page.keyboard.type("nothing-like-this")
    page.get_by_role("option").click()
    expect(many.model).to_have_text("nothing-like-this")
    expect(page.locator("#model-button")).to_be_focused()


def test_500_chats_are_grouped_by_day_and_searched(chat: Chat) -> None:
    chat.page.evaluate(FILL, 500)
    expect(chat.saved_chats).to_have_count(500)
    expect(chat.page.locator("#chat-list .group").nth(0)).to_have_text("Today")
    expect(chat.page.locator("#chat-list .group").nth(1)).to_have_text("Yesterday")
    search = chat.page.get_by_role("searchbox", name="Search chats")
    search.fill("TOPIC 499")
    expect(chat.saved_chats).to_have_text(["Chat about topic 499"])
    chat.saved_chats.get_by_role("button").first.click()
    expect(chat.questions).to_have_text(["Question 499"])
    expect(chat.page.locator("#chat-list [aria-current=true]")).to_have_text("Chat about topic 499")
    chat.saved_chats.hover()
    chat.button("Rename Chat about topic 499").click()
    chat.page.keyboard.type("Wool")
    chat.page.keyboard.press("Enter")
    expect(chat.saved_chats.filter(has_text="Wool")).to_be_visible()  # though it has no longer what was searched for
    search.fill("nothing like this")
    expect(chat.page.get_by_text("No chat has these words in its title.")).to_be_visible()
    chat.start_new_chat()
    expect(chat.saved_chats).to_have_count(500)
