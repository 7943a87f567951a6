"""The panels beside the chat, on a wide page and on a phone, and what a visitor's browser remembers of them."""

import pytest
from playwright.sync_api import Browser, ViewportSize, expect

from tests.support import SECONDS
from tests.support.chromium import NARROW, WIDE, Chat, open_chat
from tests.support.fake_stack import FakeStack, Hold

pytestmark = pytest.mark.browser
WIDER = ViewportSize(width=1600, height=900)


@pytest.mark.parametrize(
    ("size", "shown"), [(NARROW, set()), (WIDE, {"chats"}), (WIDER, {"chats", "inspect"})], ids=["390", "1280", "1600"]
)
def test_what_is_open_at_first_depends_on_the_room(
    browser: Browser, url: str, stack: FakeStack, size: ViewportSize, shown: set[str]
) -> None:
    with open_chat(browser, url, size) as chat:
        for panel in ("chats", "inspect"):
            expect(chat.page.locator(f"#{panel}")).to_be_visible(visible=panel in shown)
            expanded = str(panel in shown).lower()
            expect(chat.page.locator(f"#{panel}-toggle")).to_have_attribute("aria-expanded", expanded)
        expect(chat.box).to_be_in_viewport()


def test_what_a_visitor_opens_and_closes_is_remembered(chat: Chat) -> None:
    chat.page.locator("#chats-toggle").click()
    chat.page.locator("#inspect-toggle").click()
    chat.page.reload()
    expect(chat.page.locator("#inspect")).to_be_visible()
    expect(chat.page.locator("#chats")).not_to_be_visible()
    chat.button("Close Inspect").click()
    expect(chat.page.locator("#inspect-toggle")).to_be_focused()
    chat.page.reload()
    expect(chat.box).to_be_visible()
    expect(chat.page.locator("#inspect")).not_to_be_visible()


def test_on_a_phone_a_panel_takes_the_screen_and_only_one_is_open(browser: Browser, url: str, stack: FakeStack) -> None:
    with open_chat(browser, url, NARROW) as chat:
        chat.ask("One")
        chats, inspect = chat.page.locator("#chats"), chat.page.locator("#inspect")
        chat.open_panel("chats")
        assert chats.bounding_box() == {"x": 0, "y": 0, **NARROW}
        chat.button("Close chats").click()
        chat.open_panel("inspect")
        assert inspect.bounding_box() == {"x": 0, "y": 0, **NARROW}
        expect(chats).not_to_be_visible()
        chat.page.keyboard.press("Escape")
        expect(inspect).not_to_be_visible()
        chat.start_new_chat()
        expect(chats).not_to_be_visible()
        chat.open_panel("chats")
        chat.button("One", exact=True).click()
        expect(chats).not_to_be_visible()
        expect(chat.questions).to_have_text(["One"])
        assert chat.fits()


def test_stop_can_be_reached_while_inspect_is_open(chat: Chat, stack: FakeStack) -> None:
    reply = stack.enqueue("Once", Hold())
    chat.send("Tell me a story.")
    expect(chat.replies.last).to_contain_text("Once")
    for tab in ("Settings", "Code", "Time"):
        chat.open_tab(tab)
        expect(chat.stop_button).to_be_in_viewport()
    chat.stop_button.click()
    assert reply.ended.wait(SECONDS)


def test_a_preset_of_ones_own_is_saved_renamed_deleted_and_brought_back(chat: Chat) -> None:
    presets = chat.page.get_by_label("Preset", exact=True)
    chosen = presets.locator("option:checked")
    chat.choose_preset("Shakespeare")
    expect(chat.system_prompt).to_have_value("You are shakespeare.")
    expect(chat.button("Delete this preset")).not_to_be_visible()
    chat.set_system_prompt("Answer in French.")
    expect(chosen).to_have_text("Custom")
    chat.button("Save", exact=True).click()
    chat.page.keyboard.type("French")
    chat.page.keyboard.press("Enter")
    expect(chosen).to_have_text("French")
    expect(chat.button("Save", exact=True)).to_be_focused()
    chat.choose_preset("Friendly")
    chat.page.reload()
    chat.choose_preset("French")
    expect(chat.system_prompt).to_have_value("Answer in French.")
    chat.button("Rename this preset").click()
    chat.page.keyboard.type("Français")
    chat.page.keyboard.press("Enter")
    expect(chosen).to_have_text("Français")
    chat.button("Delete this preset").click()
    expect(chosen).to_have_text("Custom")
    chat.button("Undo", exact=True).click()
    expect(chosen).to_have_text("Français")


def test_settings_survive_a_reload_and_can_be_reset(chat: Chat, stack: FakeStack) -> None:
    chat.set_system_prompt("Be brief.")
    chat.set_sampling("Temperature", "0.5")
    chat.page.reload()
    chat.open_tab("Settings")
    expect(chat.system_prompt).to_have_value("Be brief.")
    temperature = chat.page.get_by_role("textbox", name="Temperature")
    expect(temperature).to_have_value("0.5")
    chat.ask("One")
    chat.set_sampling("Seed", "7")
    chat.page.reload()
    chat.open_tab("Settings")
    expect(chat.questions).to_have_count(1)
    expect(chat.page.get_by_role("textbox", name="Seed")).to_have_value("7")
    chat.button("Reset", exact=True).click()
    expect(chat.system_prompt).to_have_value("You are a friendly assistant.")
    expect(temperature).to_have_value("")


def test_bad_values_are_explained_at_their_fields_before_anything_is_sent(chat: Chat, stack: FakeStack) -> None:
    bad = {"Temperature": "hot", "Top p": "1.5", "Max tokens": "0", "Seed": "1.5"}
    sentences = [
        "Temperature must be 0–2, or empty.",
        "Top p must be 0–1, or empty.",
        "Max tokens must be a whole number from 1, or empty.",
        "Seed must be a whole number from 0, or empty.",
    ]
    for label, value in bad.items():
        chat.set_sampling(label, value)
    expect(chat.page.locator("#inspect .problem:not(:empty)")).to_have_text(sentences)
    chat.button("Close Inspect").click()
    chat.send("Hello")
    temperature = chat.page.get_by_role("textbox", name="Temperature")
    expect(temperature).to_be_focused()
    expect(temperature).to_have_attribute("aria-invalid", "true")
    expect(chat.box).to_have_value("Hello")
    expect(chat.questions).to_have_count(0)
    expect(chat.saved_chats).to_have_count(0)
    assert stack.requests == []
    for label, value in {"Temperature": "0,5", "Top p": "", "Max tokens": "20", "Seed": " 3 "}.items():
        chat.set_sampling(label, value)
    expect(chat.page.locator("#inspect .problem:not(:empty)")).to_have_count(0)
    chat.box.press("Enter")
    expect(chat.replies.last).to_contain_text("Hello there.")
    request = stack.requests[-1]
    assert (request["temperature"], request["max_tokens"], request["seed"]) == (0.5, 20, 3)
