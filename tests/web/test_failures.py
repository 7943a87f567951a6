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


# What a scripted server answers, and what the page shows after the part of the reply that came.
ANSWERS: dict[str, tuple[tuple[Item, ...], dict[str, Any], str]] = {
    "a stall in mid-reply": (
        ("half ", "a ", Hold()),
        {},
        "⚠️ The reply stalled: nothing came for 3 seconds. "
        "Try again, or look at the server's log; --timeout sets the wait.",
    ),
    "an error inside the stream": (
        ("half a ", {"error": {"message": "boom"}}),
        {},
        "⚠️ The server broke off with an error: `boom`. Try again.",
    ),
    "a failure of the server (500)": (
        (),
        {"status": 500, "body": {"detail": "Cannot open /root/models/llama.gguf"}},
        "⚠️ The server failed (500): `Cannot open [path]`. "
        "Try again; the server's log says why. The model engine behind it may be down.",
    ),
    "the token limit": (
        ("half a ",),
        {"finish_reason": "length"},
        'ℹ️ The reply stopped at the token limit. "Max tokens" sets it.',
    ),
    "markup in the server's words": (
        (),
        {"status": 422, "body": "`<script>alert(1)</script>` **bold**\n\n# title [link](javascript:alert(1))"},
        "⚠️ The server answered with an error (422): "
        "`'<script>alert(1)</script>' **bold** # title [link](javascript:alert(1))`. Change the request, or try again.",
    ),
}


@pytest.fixture
def address() -> Iterator[Address]:
    address = Address()
    yield address
    address.clear()


def ask(client: Client, message: str, model: str = MODEL) -> str:
    return reply_text(client.predict(message, model=model, api_name="/chat"))


def sent(stack: FakeStack) -> list[tuple[str, str]]:
    """Role and content of the messages in the last request."""
    return [(message["role"], message["content"]) for message in stack.requests[-1]["messages"]]


def unanswered(message: str, partial: str = "") -> list[tuple[str, str]]:
    """What a server gets once a failure is over: the message `message` with the part of its reply, and "two"."""
    if partial:
        return [("user", message), ("assistant", partial), ("user", "two")]
    return [("user", f"{message}\n\ntwo")]


@pytest.mark.parametrize(("items", "options", "note"), ANSWERS.values(), ids=ANSWERS)
def test_a_failure_is_explained_and_the_conversation_goes_on(
    client: Client, stack: FakeStack, items: tuple[Item, ...], options: dict[str, Any], note: str
) -> None:
    ask(client, "zero")
    stack.enqueue(*items, **options)
    partial = "".join(item for item in items if isinstance(item, str))
    assert ask(client, "one") == (f"{partial}\n{note}" if partial else note)
    assert len(stack.requests) == 2, "the message is sent once"
    assert ask(client, "two") == "Hello there."
    assert sent(stack) == [SYSTEM, ("user", "zero"), HELLO, *unanswered("one", partial)]


# The bytes of another program, and what the page shows for them.
OTHERS = {
    "a server that never says anything": (
        None,
        "⚠️ The server at {url} took too long to answer. Look at its log; try again.",
    ),
    "another web server": (
        HTML,
        "⚠️ What answers at {url} does not speak Llama Stack. "
        "Check the address: it is the one that the server prints at its start, without a path.",
    ),
    "a reply that ends with the connection": (
        HALF_A_REPLY,
        "half a \n⚠️ The connection to {url} was lost in the middle of the reply. "
        "Check that the server still runs; try again.",
    ),
}


@pytest.mark.parametrize(("answer", "shown"), OTHERS.values(), ids=OTHERS)
def test_another_program_is_explained_and_the_next_message_reaches_the_server_in_its_place(
    serve: Callable[..., Client], address: Address, answer: bytes | None, shown: str
) -> None:
    address.put(RawServer, answer)
    client = serve(base_url=address.url)
    assert ask(client, "one") == shown.format(url=address.url)
    stack = address.put(FakeStack)
    assert ask(client, "two") == "Hello there."
    assert sent(stack) == [SYSTEM, *unanswered("one", "half a " if shown.startswith("half a ") else "")]


@pytest.mark.parametrize("model", [MODEL, ""], ids=["a model chosen", "no model chosen yet"])
def test_a_server_that_goes_and_comes_back_is_found_again(
    serve: Callable[..., Client], address: Address, model: str
) -> None:
    address.put(FakeStack)
    client = serve(base_url=address.url)
    ask(client, "zero", model)
    address.clear()
    assert ask(client, "one", model).startswith(f"⚠️ Can't reach {address.url}.")
    stack = address.put(FakeStack)
    assert ask(client, "two", model) == "Hello there."
    assert sent(stack) == [SYSTEM, ("user", "zero"), HELLO, *unanswered("one")]


def test_a_server_without_tls_at_an_https_address_is_explained(
    serve: Callable[..., Client], address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path / "trusted.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    url = address.url.replace("http:", "https:")
    address.put(FakeStack)
    client = serve(base_url=url)
    assert ask(client, "one") == f"⚠️ What listens at {url} does not speak TLS. Write http:// in place of https://."
    stack = address.put(FakeStack, certificate=certificate)
    assert ask(client, "two") == "Hello there."
    assert sent(stack) == [SYSTEM, *unanswered("one")]
