"""Failures made with real sockets: what the page shows, and how it goes on. Each wording is tested in llama_stack."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gradio_client import Client

from tests.support.bad_servers import HTML, Address, RawServer, self_signed
from tests.support.fake_stack import MODEL, FakeStack, Hold
from tests.support.page import reply_text

pytestmark = pytest.mark.loopback
SYSTEM = ("system", "You are a friendly assistant.")
HELLO = ("assistant", "Hello there.")
PAGE = {"no_local": True, "timeout": 3.0}


@pytest.fixture
def address() -> Iterator[Address]:
    address = Address()
    yield address
    address.clear()


def ask(client: Client, message: str, model: str = MODEL) -> str:
    return reply_text(client.predict(message, model=model, api_name="/chat"))


def assert_continued(client: Client, stack: FakeStack, *before: tuple[str, str], partial: str = "") -> None:
    """The next message is answered, and is sent after the failed one and the part of its reply that arrived."""
    assert ask(client, "two") == "Hello there."
    last = [("user", "one"), ("assistant", partial), ("user", "two")] if partial else [("user", "one\n\ntwo")]
    sent = [(message["role"], message["content"]) for message in stack.requests[-1]["messages"]]
    assert sent == [SYSTEM, *before, *last]


def test_a_stalled_reply_is_explained_and_the_conversation_goes_on(client: Client, stack: FakeStack) -> None:
    ask(client, "zero")
    stack.enqueue("half ", "a ", Hold())
    shown = ask(client, "one")
    assert shown.startswith("half a \n⚠️ The reply stalled: nothing came for 3 seconds. Try again, ")
    assert len(stack.requests) == 2, "the message is sent once"
    assert_continued(client, stack, ("user", "zero"), HELLO, partial="half a ")


def test_a_message_that_the_app_refuses_is_not_sent_with_the_next_one(client: Client, stack: FakeStack) -> None:
    assert ask(client, "a" * 40_000).startswith("⚠️ The message has 40,000 characters")
    assert ask(client, "two") == "Hello there."
    assert stack.requests[-1]["messages"][1:] == [{"role": "user", "content": "two"}]


def test_a_finish_reason_that_json_cannot_carry_breaks_nothing(client: Client, stack: FakeStack) -> None:
    stack.enqueue("Hello.", finish_reason="\ud83e")
    assert ask(client, "one") == "Hello."
    assert ask(client, "two") == "Hello there."


def test_a_message_that_is_refused_for_what_it_contains_is_not_sent_again(client: Client, stack: FakeStack) -> None:
    ask(client, "zero")
    stack.enqueue(status=400, body={"error": {"message": "This model's maximum context length is 10 tokens."}})
    shown = ask(client, "far too long")
    assert "The conversation is too long for the model" in shown
    assert shown.endswith("Later messages are sent without this one.")
    assert ask(client, "two") == "Hello there."
    sent = [(message["role"], message["content"]) for message in stack.requests[-1]["messages"]]
    assert sent == [SYSTEM, ("user", "zero"), HELLO, ("user", "two")]


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (None, "⚠️ The server at {url} took too long to answer."),
        (HTML, "⚠️ What answers at {url} does not speak Llama Stack."),
    ],
    ids=["a server that never says anything", "another web server"],
)
def test_another_program_is_explained_and_the_next_message_reaches_the_server_in_its_place(
    serve: Callable[..., Client], address: Address, answer: bytes | None, shown: str
) -> None:
    address.put(RawServer, answer)
    client = serve(base_url=address.url)
    assert shown.format(url=address.url) in ask(client, "one")
    assert_continued(client, address.put(FakeStack))


@pytest.mark.parametrize("model", [MODEL, ""], ids=["a model chosen", "no model chosen yet"])
def test_a_server_that_goes_and_comes_back_is_found_again(
    serve: Callable[..., Client], address: Address, model: str
) -> None:
    address.put(FakeStack)
    client = serve(base_url=address.url)
    ask(client, "zero", model)
    address.clear()
    assert ask(client, "one", model).startswith(f"⚠️ Can't reach {address.url}.")
    assert_continued(client, address.put(FakeStack), ("user", "zero"), HELLO)


def test_a_server_without_tls_at_an_https_address_is_explained(
    serve: Callable[..., Client], address: Address, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path / "trusted.pem")
    url = address.url.replace("http:", "https:")
    address.put(FakeStack)
    client = serve(base_url=url, environ={"SSL_CERT_FILE": str(certificate)})
    assert ask(client, "one") == f"⚠️ What listens at {url} does not speak TLS. Write http:// in place of https://."
    assert_continued(client, address.put(FakeStack, certificate=certificate))
