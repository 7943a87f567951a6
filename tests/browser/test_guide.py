"""The cards of the text generation guide, on the scripted server of each dialect and on the real local stack."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, expect

from tests.support.app_process import AppProcess
from tests.support.chromium import SYSTEM, Chat, messages, open_chat
from tests.support.fake_stack import FakeStack, Hold
from tests.support.servers.recorded import RecordedServer

pytestmark = pytest.mark.browser
type Site = tuple[str, FakeStack | RecordedServer, str]
FIRST = ("user", "Explain recursion in programming in simple terms.")


@pytest.fixture(scope="module", params=["/v1/chat/completions", "/v1/openai/v1/chat/completions", "legacy"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The URL of an app with a server of each dialect, the server, and its route."""
    with ExitStack() as cleanup:
        server = RecordedServer() if request.param == "legacy" else FakeStack()
        stack = cleanup.enter_context(server)
        if isinstance(stack, FakeStack):
            stack.routes = [request.param]
        app = cleanup.enter_context(AppProcess(("--base-url", stack.url), {}, tmp_path_factory.mktemp("guide")))
        yield app.url, stack, request.param


@pytest.fixture
def guided(browser: Browser, site: Site) -> Iterator[Chat]:
    site[1].reset()
    if isinstance(site[1], FakeStack):
        site[1].routes = [site[2]]
    with open_chat(browser, site[0]) as chat:
        expect(chat.status.locator(".ready")).to_be_visible()
        yield chat


def start(chat: Chat, title: str) -> None:
    chat.page.locator("#guide button", has_text=title).first.click()


def test_first_completion_shows_its_code(guided: Chat, site: Site) -> None:
    start(guided, "First completion")
    code = guided.page.locator("#code-python pre")
    expect(code).to_contain_text("Write a two-sentence poem about llama.")
    is_legacy = isinstance(site[1], RecordedServer)
    expect(code).to_contain_text("inference.chat_completion(" if is_legacy else "chat.completions.create(")
    assert len(site[1].requests) == 1


def test_system_prompt_compares_two_of_them(guided: Chat, site: Site) -> None:
    start(guided, "System prompt")
    expect(guided.page.locator("#second-answer .bot.message").first).to_be_visible()
    expect(guided.page.locator("#compare-stop")).not_to_be_visible()
    systems = [request["messages"][0]["content"] for request in site[1].requests]
    assert systems == ["You are a friendly assistant.", "You are shakespeare."]


def test_history_shows_the_request_that_carries_it(guided: Chat, site: Site) -> None:
    start(guided, "History")
    expect(guided.page.locator("#code-python pre")).to_contain_text("What did I ask first?")
    expect(guided.page.locator("#code-python summary")).to_have_attribute("data-text", "… 2 earlier messages")
    guided.wait_until_idle()
    assert len(site[1].requests) == 2
    assert FIRST[1] in str(site[1].requests[1]["messages"])


def test_streaming_shows_the_times_with_and_without_it(guided: Chat, site: Site) -> None:
    start(guided, "Streaming")
    expect(guided.page.locator("#timings button")).to_have_count(2)
    expect(guided.page.get_by_role("tab", name="Time")).to_have_attribute("aria-selected", "true")
    sent = site[1].bodies if isinstance(site[1], RecordedServer) else site[1].requests
    assert [request["stream"] for request in sent] == [True, False]
    guided.open_tab("Settings")
    expect(guided.page.get_by_label("Streaming")).to_have_value("On")


def test_the_loop_is_a_program_for_this_server(guided: Chat, site: Site) -> None:
    start(guided, "Conversation loop")
    code = guided.page.locator("#code-python pre")
    expect(code).to_contain_text('("exit", "quit", "bye")')
    expect(code).to_contain_text(site[1].url)
    compile(code.inner_text(), "chat.py", "exec")
    assert site[1].requests == []


def test_an_example_is_sent_and_a_draft_stays(chat: Chat, stack: FakeStack) -> None:
    chat.box.fill("A draft")
    start(chat, "hello world")
    expect(chat.replies.last).to_contain_text("Hello there.")
    chat.wait_until_idle()
    assert messages(stack)[-1] == ("user", "hello world, write me a 2 sentence poem about the moon")
    expect(chat.box).to_have_value("A draft")


def test_a_card_leaves_the_settings_as_they_were(chat: Chat, stack: FakeStack) -> None:
    chat.set_system_prompt("My own.")
    stack.enqueue("Once", Hold())
    start(chat, "Streaming")
    expect(chat.replies.last).to_contain_text("Once")
    chat.stop_button.click()
    expect(chat.system_prompt).to_have_value("My own.")
    chat.ask("Mine")
    assert [request["messages"][0]["content"] for request in stack.requests][1:] == ["My own."]
    assert len(stack.requests) == 2  # the rest of the card is not sent


def test_a_card_waits_for_good_values(chat: Chat, stack: FakeStack) -> None:
    chat.set_sampling("Temperature", "9")
    start(chat, "History")
    expect(chat.page.get_by_role("textbox", name="Temperature")).to_be_focused()
    chat.set_sampling("Temperature", "")
    chat.ask("Mine")
    assert messages(stack) == [SYSTEM, ("user", "Mine")]


def test_cards_that_need_a_model_say_what_is_missing(browser: Browser, url: str, stack: FakeStack) -> None:
    stack.models.clear()
    with open_chat(browser, url) as chat:
        expect(chat.page.locator("#guide-note")).to_contain_text("no chat models")
        cards = chat.page.locator("#guide button")
        expect(cards.filter(has_text="First completion")).to_be_disabled()
        expect(cards.filter(has_text="Conversation loop")).to_be_enabled()


@pytest.mark.real_stack
def test_the_cards_work_on_the_local_stack(browser: Browser, start_app: Callable[..., AppProcess]) -> None:
    app = start_app()
    with open_chat(browser, app.url) as chat:
        expect(chat.status.locator(".ready")).to_contain_text("Local stack")
        expect(chat.page.locator("#guide-note")).to_contain_text("Fine for a tour, not for answers.")
        chat.set_sampling("Max tokens", "20")
        start(chat, "System prompt")
        expect(chat.page.locator("#second-answer [data-stats*=token]")).to_be_visible()
        chat.button("Close the comparison").click()
        chat.start_new_chat()
        start(chat, "Streaming")
        expect(chat.page.locator("#timings button")).to_have_count(2)
        chat.start_new_chat()
        start(chat, "History")
        expect(chat.page.locator("#code-python pre")).to_contain_text("What did I ask first?")
        chat.wait_until_idle()
        chat.start_new_chat()
        start(chat, "First completion")
        expect(chat.page.locator("#code-python pre")).to_contain_text("Write a two-sentence poem about llama.")
        chat.wait_until_idle()
        chat.start_new_chat()
        start(chat, "Conversation loop")
        expect(chat.page.locator("#code-python pre")).to_contain_text("input(")
