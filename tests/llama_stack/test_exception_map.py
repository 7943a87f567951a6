"""What the client library and httpx raise, and what a person reads of it."""

import ast
import socket
import ssl
from pathlib import Path

import httpx
import llama_stack_client
import pytest
from llama_stack_client import APIConnectionError

from llama_ui.core.errors import (
    BadReply,
    Busy,
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
from llama_ui.llama_stack.exception_map import CATEGORIES, explain, map_exceptions

URL = "http://stack.test:8321"
CHAT = RequestContext(URL, "some/model", timeout=30.0)
HTTP_REQUEST = httpx.Request("POST", f"{URL}/v1/chat/completions")
OF_PYTHON = {"JSONDecodeError", "UnicodeDecodeError", "RecursionError"}  # by a response that cannot be parsed
OF_HTTPX = {
    name for name in httpx.__all__ if isinstance(kind := getattr(httpx, name), type) and issubclass(kind, Exception)
}


def of_the_client_library() -> set[str]:
    """The names of `LlamaStackClientError` and of all classes below it, from the sources of the package."""
    bases: dict[str, set[str]] = {}
    for path in Path(llama_stack_client.__path__[0]).rglob("*.py"):
        if "Error" in (source := path.read_text(encoding="utf-8")):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.ClassDef):
                    bases[node.name] = {ast.unparse(base).split(".")[-1] for base in node.bases}
    found = {"LlamaStackClientError"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return found


def test_the_map_has_every_exception_class_of_httpx_and_the_client_library_and_no_other() -> None:
    library = of_the_client_library()
    assert {name for name in dir(llama_stack_client._exceptions) if name.endswith("Error")} <= library
    assert CATEGORIES.keys() == library | OF_HTTPX | OF_PYTHON


def instance(name: str) -> Exception:
    kind = getattr(httpx, name)
    if name == "HTTPStatusError":
        return httpx.HTTPStatusError("Bad", request=HTTP_REQUEST, response=httpx.Response(500, request=HTTP_REQUEST))
    bare = ("StreamConsumed", "StreamClosed", "ResponseNotRead", "RequestNotRead")
    return kind() if name in bare else kind("something")


@pytest.mark.parametrize("name", sorted(OF_HTTPX))
def test_every_exception_of_httpx_is_explained_also_where_the_client_library_wraps_it(name: str) -> None:
    wrapped = APIConnectionError(request=HTTP_REQUEST)
    wrapped.__cause__ = instance(name)
    error, same = explain(instance(name), CHAT), explain(wrapped, CHAT)
    assert isinstance(error, ServerError)
    assert error.sentence.endswith(".") and error.fix
    assert str(error) == str(same)


def test_a_class_of_a_later_version_counts_as_its_base_class() -> None:
    class SomethingNew(httpx.ConnectError):
        pass

    assert type(explain(SomethingNew("new"), CHAT)) is NotListening


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


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (httpx.ConnectError("refused"), NotListening, f"Can't reach {URL}."),
        (httpx.UnsupportedProtocol("no scheme"), NotListening, f"Can't reach {URL}."),
        (because(httpx.ConnectError("x"), OSError("no route")), NotListening, f"Can't reach {URL}."),
        (because(httpx.ConnectError("x"), socket.gaierror(-2)), NameNotFound, f"The host of {URL} cannot be found."),
        (
            because(httpx.ConnectError("x"), UNTRUSTED),
            TLSMismatch,
            f"The certificate of {URL} cannot be trusted: `self-signed certificate`.",
        ),
        (
            because(httpx.ConnectError("x"), ssl.SSLError(1, "[SSL]")),
            TLSMismatch,
            f"What listens at {URL} does not speak TLS.",
        ),
        (
            because(httpx.ReadError("x"), ssl.SSLError(1, "[SSL]")),
            TLSMismatch,
            f"What listens at {URL} does not speak TLS.",
        ),
        (httpx.ConnectTimeout("slow"), NotListening, f"{URL} did not take the connection in time."),
        (httpx.ProxyError("403"), NotListening, f"The proxy does not lead to {URL}."),
        (httpx.PoolTimeout("full"), Busy, "Too many replies run at once."),
        (
            httpx.ReadTimeout("slow"),
            TimedOut,
            f"The server at {URL} took too long to begin: no first token for 30 seconds.",
        ),
        (
            httpx.RemoteProtocolError("gone"),
            NoAnswer,
            f"What listens at {URL} closed the connection without an HTTP answer.",
        ),
        (httpx.DecodingError("gzip"), NotALlamaStack, f"What answers at {URL} does not speak Llama Stack."),
        (httpx.TooManyRedirects("20"), NotALlamaStack, f"The address {URL} redirects in a loop."),
    ],
    ids=repr,
)
def test_a_failure_before_the_response_is_explained_with_the_address(
    error: Exception, kind: type[ServerError], sentence: str
) -> None:
    explained = explain(error, CHAT)
    assert (type(explained), explained and explained.sentence) == (kind, sentence)


@pytest.mark.parametrize(
    ("error", "has_content", "kind", "sentence"),
    [
        (httpx.ReadError("reset"), False, ConnectionLost, f"The connection to {URL} was lost before the reply."),
        (
            httpx.RemoteProtocolError("cut"),
            True,
            ConnectionLost,
            f"The connection to {URL} was lost in the middle of the reply.",
        ),
        (httpx.ReadTimeout("slow"), True, TimedOut, "The reply stalled: nothing came for 1 second."),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), True, BadReply, "The reply broke off: what came next"),
    ],
)
def test_a_failure_after_the_response_began_is_explained_by_what_had_arrived(
    error: Exception, has_content: bool, kind: type[ServerError], sentence: str
) -> None:
    explained = explain(
        error, RequestContext(URL, "some/model", timeout=1.0, has_response=True, has_content=has_content)
    )
    assert type(explained) is kind
    assert explained.sentence.startswith(sentence)


def test_a_slow_lookup_is_told_without_a_token() -> None:
    explained = explain(httpx.ReadTimeout("slow"), RequestContext(URL))
    assert str(explained) == f"The server at {URL} took too long to answer. Look at its log; try again."
