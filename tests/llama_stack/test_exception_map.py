"""What the client library and httpx raise, and what a person reads of it."""

import socket
import ssl

import httpx
import pytest
from llama_stack_client import APIConnectionError

from llama_ui.core.errors import (
    BadReply,
    ConnectionLost,
    NameNotFound,
    NoAnswer,
    NotALlamaStack,
    NotListening,
    ServerError,
    TimedOut,
    TLSMismatch,
)
from llama_ui.llama_stack.error_replies import RequestContext
from llama_ui.llama_stack.exception_map import explain, map_exceptions

URL = "http://stack.test:8321"
CHAT = RequestContext(URL, "some/model", timeout=30.0)
KINDS = [kind for name in httpx.__all__ if isinstance(kind := getattr(httpx, name), type)]
REQUEST_ERRORS = [kind for kind in KINDS if issubclass(kind, httpx.RequestError)]


@pytest.mark.parametrize("kind", REQUEST_ERRORS)
def test_every_request_error_of_httpx_is_explained_also_where_the_client_library_wraps_it(
    kind: type[httpx.RequestError],
) -> None:
    wrapped = APIConnectionError(request=httpx.Request("POST", URL))
    wrapped.__cause__ = kind("something")
    error = explain(kind("something"), CHAT)
    assert isinstance(error, ServerError) and error.fix
    assert str(error) == str(explain(wrapped, CHAT))


def test_the_original_exception_is_the_cause_and_any_other_exception_is_left_alone() -> None:
    with pytest.raises(NotListening) as mapped, map_exceptions(CHAT):
        raise httpx.ConnectError("refused")
    assert type(mapped.value.__cause__) is httpx.ConnectError
    with pytest.raises(ZeroDivisionError), map_exceptions(CHAT):
        raise ZeroDivisionError
    known = ConnectionLost("It is lost.", "")
    with pytest.raises(ConnectionLost) as same, map_exceptions(CHAT):
        raise known
    assert same.value is known


def because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


UNTRUSTED = ssl.SSLCertVerificationError(1, "[SSL]")
UNTRUSTED.verify_message = "self-signed certificate"
NO_TLS = ssl.SSLError(1, "[SSL]")
BEFORE: list[tuple[Exception, type[ServerError], str]] = [
    (httpx.ConnectError("refused"), NotListening, f"Can't reach {URL}."),
    (because(httpx.ConnectError("x"), OSError("no route")), NotListening, f"Can't reach {URL}."),
    (because(httpx.ConnectError("x"), socket.gaierror(-2)), NameNotFound, f"The host of {URL} cannot be found."),
    (because(httpx.ConnectError("x"), UNTRUSTED), TLSMismatch, "cannot be trusted: `self-signed certificate`."),
    (because(httpx.ConnectError("x"), NO_TLS), TLSMismatch, f"What listens at {URL} does not speak TLS."),
    (because(httpx.ReadError("x"), NO_TLS), TLSMismatch, f"What listens at {URL} does not speak TLS."),
    (httpx.ConnectTimeout("slow"), NotListening, f"{URL} did not take the connection in time."),
    (httpx.ReadTimeout("slow"), TimedOut, "took too long to begin: no first token for 30 seconds."),
    (httpx.RemoteProtocolError("gone"), NoAnswer, "closed the connection without an HTTP answer."),
    (httpx.DecodingError("gzip"), NotALlamaStack, f"What answers at {URL} does not speak Llama Stack."),
    (httpx.TooManyRedirects("20"), NotALlamaStack, f"The address {URL} redirects in a loop."),
]


@pytest.mark.parametrize(("error", "kind", "sentence"), BEFORE, ids=repr)
def test_a_failure_before_the_response_is_explained_with_the_address(
    error: Exception, kind: type[ServerError], sentence: str
) -> None:
    result = explain(error, CHAT)
    assert type(result) is kind
    assert result.sentence.endswith(sentence) and URL in result.sentence


@pytest.mark.parametrize(
    ("error", "has_content", "kind", "sentence"),
    [
        (httpx.ReadError("reset"), False, ConnectionLost, f"The connection to {URL} was lost before the reply."),
        (httpx.RemoteProtocolError("cut"), True, ConnectionLost, "was lost in the middle of the reply."),
        (httpx.ReadTimeout("slow"), True, TimedOut, "The reply stalled: nothing came for 1 second."),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), True, BadReply, "what came next cannot be read."),
    ],
)
def test_a_failure_after_the_response_began_is_explained_by_what_had_arrived(
    error: Exception, has_content: bool, kind: type[ServerError], sentence: str
) -> None:
    request = RequestContext(URL, "some/model", timeout=1.0, has_response=True, has_content=has_content)
    result = explain(error, request)
    assert type(result) is kind
    assert result.sentence.endswith(sentence)


def test_a_slow_lookup_is_explained_without_a_token() -> None:
    result = explain(httpx.ReadTimeout("slow"), RequestContext(URL))
    assert str(result) == f"The server at {URL} took too long to answer. Look at its log; try again."
