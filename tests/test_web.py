"""The page through its own API, against a scripted server: what it sends, and what it shows."""

import contextlib
from collections.abc import Callable, Iterator

import httpx
import pytest
from gradio_client import Client

from tests.fake_stack import MODEL, FakeStack, Hold
from tests.page import said, served

pytestmark = pytest.mark.loopback
SECONDS = 20.0


@pytest.fixture
def serve() -> Iterator[Callable[..., Client]]:
    """Serves the page with the settings given, and connects a client to it."""
    with contextlib.ExitStack() as cleanup:
        yield lambda **values: Client(cleanup.enter_context(served(**values)), verbose=False)


@pytest.fixture
def client(serve: Callable[..., Client], stack: FakeStack) -> Client:
    return serve(base_url=stack.url)


def test_a_reply_is_streamed_in_partial_updates(client: Client, stack: FakeStack) -> None:
    holds = [Hold() for _ in range(5)]
    stack.enqueue(*[item for number, hold in enumerate(holds) for item in (f"word{number} ", hold)])
    job = client.submit("Hi", api_name="/chat")
    seen = []
    for update, hold in zip(job, holds, strict=False):
        seen.append(said(update))
        hold.release.set()
    assert seen == ["word0 ", "word0 word1 ", "word0 word1 word2 ", "word0 word1 word2 word3 ", seen[-1]]
    assert said(job.result(SECONDS)) == "word0 word1 word2 word3 word4 "


def test_system_prompt_comes_first_and_roles_alternate_on_every_turn(client: Client, stack: FakeStack) -> None:
    for turn in ("one", "two", "three"):
        client.predict(turn, system_prompt="Be brief.", api_name="/chat")
    answer = {"role": "assistant", "content": "Hello there."}
    assert stack.requests[-1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        answer,
        {"role": "user", "content": "two"},
        answer,
        {"role": "user", "content": "three"},
    ]


def test_the_system_prompt_applies_from_the_next_message_on(client: Client, stack: FakeStack) -> None:
    client.predict("one", system_prompt="First.", api_name="/chat")
    client.predict("two", system_prompt="Second.", api_name="/chat")
    assert [request["messages"][0]["content"] for request in stack.requests] == ["First.", "Second."]


def test_a_blank_system_prompt_is_not_sent(client: Client, stack: FakeStack) -> None:
    client.predict("Hi", system_prompt="  \n", api_name="/chat")
    assert stack.requests[0]["messages"] == [{"role": "user", "content": "Hi"}]


def test_only_what_was_set_is_sent(client: Client, stack: FakeStack) -> None:
    client.predict("Hi", api_name="/chat")
    client.predict("Hi", temperature=0.5, top_p="0.9", max_tokens=12, seed="7", api_name="/chat")
    assert stack.requests[0].keys() == {"model", "messages", "stream", "stream_options"}
    sampling = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 12, "seed": 7}
    assert stack.requests[1].items() >= sampling.items()


def test_the_endpoint_has_the_names_that_other_programs_rely_on(client: Client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/chat"]
    parameters = [(item["parameter_name"], item["label"]) for item in endpoints["/chat"]["parameters"]]
    assert parameters == [
        ("message", "Message"),
        ("system_prompt", "System prompt"),
        ("model", "Model"),
        ("temperature", "Temperature"),
        ("top_p", "Top p"),
        ("max_tokens", "Max tokens"),
        ("seed", "Seed"),
    ]


@pytest.mark.parametrize("message", ["", "   \n\t"])
def test_a_blank_message_is_not_sent(client: Client, stack: FakeStack, message: str) -> None:
    assert "The message is blank." in said(client.predict(message, api_name="/chat"))
    assert stack.requests == []


def test_what_is_too_long_is_not_sent(serve: Callable[..., Client], stack: FakeStack) -> None:
    client = serve(base_url=stack.url, max_message_chars=10)
    assert "The message has 11 characters; at most 10 are sent." in said(client.predict("x" * 11, api_name="/chat"))
    shown = said(client.predict("Hi", system_prompt="y" * 11, api_name="/chat"))
    assert "The system prompt has 11 characters; at most 10 are sent." in shown
    assert stack.requests == []


def test_a_sampling_option_out_of_range_is_explained(client: Client, stack: FakeStack) -> None:
    assert "from 0 to 2" in said(client.predict("Hi", temperature="9", api_name="/chat"))
    assert stack.requests == []


def test_a_partial_reply_is_kept_when_the_server_breaks_off(client: Client, stack: FakeStack) -> None:
    stack.enqueue("half a ", {"error": {"message": "<b>boom</b>"}})
    shown = said(client.predict("Hi", api_name="/chat"))
    assert shown.startswith("half a \n⚠️")
    assert "`<b>boom</b>`" in shown
    client.predict("again", api_name="/chat")
    assert [message["content"] for message in stack.requests[-1]["messages"][1:]] == ["Hi", "half a ", "again"]


def test_an_unknown_model_is_explained_and_the_next_message_works(client: Client) -> None:
    assert "no model `nope`" in said(client.predict("Hi", model="nope", api_name="/chat"))
    assert said(client.predict("Hi", model=MODEL, api_name="/chat")) == "Hello there."


def test_a_refused_key_is_explained_and_never_shown(serve: Callable[..., Client], stack: FakeStack) -> None:
    stack.key = "right"
    client = serve(base_url=stack.url, api_key="wr0ng-k3y", model=MODEL)
    shown = said(client.predict("Hi", api_name="/chat"))
    assert "refused the key" in shown and "LLAMA_STACK_CLIENT_API_KEY" in shown
    page = httpx.get(client.src).text + httpx.get(f"{client.src}config").text
    assert "wr0ng-k3y" not in shown + page


def test_a_server_that_is_down_is_explained_and_the_next_message_works_once_it_is_back(
    serve: Callable[..., Client],
) -> None:
    with FakeStack() as stack:
        port = stack.port
    client = serve(base_url=f"http://127.0.0.1:{port}", model=MODEL)
    assert f"No server answers at http://127.0.0.1:{port}." in said(client.predict("Hi", api_name="/chat"))
    with FakeStack(port):
        assert said(client.predict("Hi", api_name="/chat")) == "Hello there."


def test_without_any_server_it_says_how_to_connect_one(
    serve: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_ui.connection.USUAL_URLS", ("http://127.0.0.1:9",))
    client = serve(no_local=True)
    assert "--base-url" in said(client.predict("Hi", api_name="/chat"))


def test_indentation_of_a_reply_is_kept(client: Client, stack: FakeStack) -> None:
    stack.enqueue("  Code:\n", "    a = 1\n")
    assert said(client.predict("Hi", api_name="/chat")) == "  Code:\n    a = 1\n"


def test_while_the_server_says_nothing_the_wait_is_shown_and_a_cancelled_wait_ends_the_request(
    client: Client, stack: FakeStack
) -> None:
    hold = Hold()
    reply = stack.enqueue(hold)
    job = client.submit("Hi", api_name="/chat")
    assert hold.reached.wait(SECONDS)
    assert "Waiting for the first token" in said(next(iter(job)))
    job.cancel()
    assert reply.ended.wait(SECONDS)


def test_two_visitors_are_served_at_once_and_do_not_see_each_other(client: Client, stack: FakeStack) -> None:
    hold = Hold()
    stack.enqueue("slow", hold)
    waiting = client.submit("first visitor", api_name="/chat")
    assert hold.reached.wait(SECONDS)
    other = Client(client.src, verbose=False)
    assert said(other.predict("second visitor", api_name="/chat")) == "Hello there."
    assert "first visitor" not in str(stack.requests[-1])
    hold.release.set()
    assert said(waiting.result(SECONDS)) == "slow"


def test_half_an_emoji_from_the_server_is_shown_as_a_sign_and_the_next_message_works(
    client: Client, stack: FakeStack
) -> None:
    stack.enqueue("half \ud83d")
    assert said(client.predict("Hi", api_name="/chat")) == "half \ufffd"
    stack.enqueue({"error": {"message": "boom \ud83d"}})
    assert "`boom`" in said(client.predict("Hi", api_name="/chat"))
    assert said(client.predict("Hi", api_name="/chat")) == "Hello there."
