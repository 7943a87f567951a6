"""Failures made with real sockets: what the page shows, and how it goes on. Each wording is tested in llama_stack."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client

from tests.support.bad_servers import HALF_A_REPLY, HTML, Address, RawServer, self_signed
from tests.support.fake_stack import MODEL, FakeStack, Hold, Item
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


# What a scripted server answers, and what the page shows after the part of the reply that came.
ANSWERS: dict[str, tuple[tuple[Item, ...], dict[str, Any], str]] = {
    "a stall in mid-reply": (
        ("half ", "a ", Hold()),
        {},
        "⚠️ The reply stalled: nothing came for 3 seconds. "
        "Try again, or look at the server's log; --timeout sets the wait.",
    ),
    "markup in the server's words": (
        (),
        {"status": 422, "body": "`<script>alert(1)</script>` **bold**\n\n# title [link](javascript:alert(1))"},
        "⚠️ The server answered with an error (422): "
        "`'<script>alert(1)</script>' **bold** # title [link](javascript:alert(1))`. Change the request, or try again.",
    ),
}


@pytest.mark.parametrize(("items", "options", "note"), ANSWERS.values(), ids=ANSWERS)
def test_a_failure_is_explained_and_the_conversation_goes_on(
    client: Client, stack: FakeStack, items: tuple[Item, ...], options: dict[str, Any], note: str
) -> None:
    ask(client, "zero")
    stack.enqueue(*items, **options)
    partial = "".join(item for item in items if isinstance(item, str))
    assert ask(client, "one") == (f"{partial}\n{note}" if partial else note)
    assert len(stack.requests) == 2, "the message is sent once"
    assert_continued(client, stack, ("user", "zero"), HELLO, partial=partial)


@pytest.mark.parametrize(
    ("answer", "partial", "shown"),
    [
        (None, "", "⚠️ The server at {url} took too long to answer."),
        (HTML, "", "⚠️ What answers at {url} does not speak Llama Stack."),
        (HALF_A_REPLY, "half a ", "⚠️ The connection to {url} was lost in the middle of the reply."),
    ],
    ids=["a server that never says anything", "another web server", "a reply that ends with the connection"],
)
def test_another_program_is_explained_and_the_next_message_reaches_the_server_in_its_place(
    serve: Callable[..., Client], address: Address, answer: bytes | None, partial: str, shown: str
) -> None:
    address.put(RawServer, answer)
    client = serve(base_url=address.url)
    assert shown.format(url=address.url) in ask(client, "one")
    assert_continued(client, address.put(FakeStack), partial=partial)


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
    serve: Callable[..., Client], address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path / "trusted.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    url = address.url.replace("http:", "https:")
    address.put(FakeStack)
    client = serve(base_url=url)
    assert ask(client, "one") == f"⚠️ What listens at {url} does not speak TLS. Write http:// in place of https://."
    assert_continued(client, address.put(FakeStack, certificate=certificate))
