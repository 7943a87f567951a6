"""Each failure is one plain sentence and one thing to do about it."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.errors import (
    ChatError,
    InputError,
    KeyRefused,
    LocalStackError,
    NoServer,
    NoSuchPath,
    Refused,
    ServerError,
    TimedOut,
    UnknownModel,
    Unreachable,
    from_status,
    from_transport,
    quoted,
)

URL = "http://stack.test:8321"


def concrete(kind: type[Exception]) -> list[type[Exception]]:
    """The class and all below it."""
    return [kind, *(below for child in kind.__subclasses__() for below in concrete(child))]


def assert_well_said(error: ChatError) -> None:
    assert error.sentence.endswith(".")
    assert error.fix.endswith(".")
    assert str(error) == f"{error.sentence} {error.fix}"
    assert "\n" not in str(error)


def test_every_failure_can_be_caught_as_one() -> None:
    for kind in (InputError, NoServer, LocalStackError, ServerError):
        assert issubclass(kind, ChatError)
    for kind in (Unreachable, TimedOut, KeyRefused, UnknownModel, NoSuchPath, Refused):
        assert issubclass(kind, ServerError)


def test_an_error_is_its_sentence_and_its_fix() -> None:
    error = NoServer("No server answers.", "Start one.")
    assert (error.sentence, error.fix, str(error)) == (
        "No server answers.",
        "Start one.",
        "No server answers. Start one.",
    )


def test_an_error_without_a_fix_ends_with_its_sentence() -> None:
    assert str(ChatError("It is late.", "")) == "It is late."


@pytest.mark.parametrize(
    ("status", "detail", "kind", "told"),
    [
        (401, "Authentication required.", KeyRefused, "LLAMA_STACK_CLIENT_API_KEY"),
        (403, "Forbidden", KeyRefused, "LLAMA_STACK_CLIENT_API_KEY"),
        (404, "Model 'some/model' not found. Use 'client.models.list()'", UnknownModel, "`some/model`"),
        (404, "The model `some/model` does not exist.", UnknownModel, "Model list"),
        (404, "Not Found", NoSuchPath, URL),
        (404, "", NoSuchPath, "/v1"),
        (408, "Slow", Refused, "`Slow`"),
        (429, "Rate limit reached", Refused, "busy"),
        (400, "max_tokens is too large", Refused, "`max_tokens is too large`"),
        (422, "Unprocessable", Refused, "`Unprocessable`"),
        (426, "Client version is not compatible", Refused, "426"),
        (500, "Internal server error", Refused, "500"),
        (502, "Bad gateway", Refused, "502"),
        (503, "", Refused, "503"),
    ],
)
def test_a_status_becomes_a_sentence_with_a_fix(status: int, detail: str, kind: type[ServerError], told: str) -> None:
    error = from_status(status, detail, "some/model", URL)
    assert type(error) is kind
    assert told in str(error)
    assert_well_said(error)


@given(status=st.integers(100, 599), detail=st.text(), model=st.text())
def test_any_answer_becomes_one_line_with_a_fix(status: int, detail: str, model: str) -> None:
    error = from_status(status, detail, model, URL)
    assert isinstance(error, ServerError)
    assert_well_said(error)
    assert len(error.sentence.splitlines()) == 1
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (httpx.ConnectError("refused"), Unreachable, "No server answers"),
        (httpx.UnsupportedProtocol("no scheme"), Unreachable, "No server answers"),
        (None, Unreachable, "No server answers"),
        (OSError("no route"), Unreachable, "No server answers"),
        (httpx.ConnectTimeout("slow"), TimedOut, "too long"),
        (httpx.ReadTimeout("slow"), TimedOut, "too long"),
        (httpx.WriteTimeout("slow"), TimedOut, "too long"),
        (httpx.PoolTimeout("slow"), TimedOut, "too long"),
        (httpx.ReadError("reset"), Unreachable, "was lost"),
        (httpx.WriteError("reset"), Unreachable, "was lost"),
        (httpx.RemoteProtocolError("incomplete"), Unreachable, "was lost"),
    ],
)
def test_a_failed_connection_becomes_a_sentence_with_a_fix(
    error: Exception | None, kind: type[ServerError], told: str
) -> None:
    found = from_transport(error, URL)
    assert type(found) is kind
    assert told in found.sentence
    assert URL in found.sentence
    assert_well_said(found)


@pytest.mark.parametrize("kind", concrete(httpx.TransportError), ids=lambda kind: kind.__name__)
def test_every_failure_of_a_connection_is_explained_with_the_address(kind: type[httpx.TransportError]) -> None:
    error = from_transport(kind("something"), URL)
    assert URL in error.sentence
    assert_well_said(error)


def test_the_servers_words_stand_as_code() -> None:
    assert quoted("Model not found") == "`Model not found`"


def test_backticks_cannot_end_the_code_early() -> None:
    assert quoted("a `b` ```c```") == "`a 'b' '''c'''`"


def test_words_on_many_lines_become_one() -> None:
    assert quoted("a\n\n  b\r\n\tc\u2028d") == "`a b c d`"


def test_long_words_are_cut() -> None:
    assert quoted("x" * 301) == "`" + "x" * 300 + "…`"
    assert quoted("x" * 300) == "`" + "x" * 300 + "`"
    assert quoted("abcdef", 3) == "`abc…`"


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_no_words_are_said_to_be_none(blank: str) -> None:
    assert quoted(blank) == "`(no text)`"


@given(st.text(), st.integers(1, 400))
def test_quoted_words_are_always_one_short_piece_of_code(text: str, limit: int) -> None:
    found = quoted(text, limit)
    assert found[0] == found[-1] == "`"
    assert "`" not in found[1:-1]
    assert len(found.splitlines()) == 1
    assert len(found) <= max(limit + 3, len("`(no text)`"))
