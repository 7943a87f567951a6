"""What the client library and httpx raise, each with the error that a person is told.

The table knows the client library's exceptions by name, so that this file does not have to import it. A test fails when
one of the library's or of httpx's exceptions is missing here.
"""

import socket
import ssl
from collections.abc import Callable, Iterator

from llama_ui.core import errors
from llama_ui.core.errors import ServerError
from llama_ui.core.text import quote
from llama_ui.llama_stack.error_replies import RequestContext, address_fix, explain_event, explain_status

type Explain = Callable[[Exception, RequestContext], ServerError]


def explain(error: Exception, call: RequestContext) -> ServerError | None:
    """The error to tell; None for an exception that is neither the client library's nor httpx's."""
    for kind in type(error).__mro__:
        if kind.__name__ in TABLE:
            return TABLE[kind.__name__](error, call)
    return None


def no_llama_stack(call: RequestContext) -> ServerError:
    """Something else answers there; in mid-reply: something broke."""
    if call.began:
        return errors.BadReply("The reply broke off: what came next cannot be read.", "Try again.")
    return errors.NotALlamaStack(f"What answers at {call.base_url} does not speak Llama Stack.", address_fix(call))


def connection_lost(call: RequestContext) -> ServerError:
    """The end of the connection came before the end of the reply."""
    return errors.ConnectionLost(
        f"The connection to {call.base_url} was lost {'in the middle of' if call.began else 'before'} the reply.",
        "Check that the server still runs; try again.",
    )


# Before an answer: the connection


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _wrapped(error: Exception, call: RequestContext) -> ServerError:
    """The client library's "Connection error." has the reason as its cause."""
    cause = error.__cause__
    known = explain(cause, call) if isinstance(cause, Exception) else None
    return known or _not_connected(error, call)


def _not_connected(error: Exception, call: RequestContext) -> ServerError:
    url = call.base_url
    for cause in _chain(error):
        match cause:
            case socket.gaierror():
                return errors.NameNotFound(f"The host of {url} cannot be found.", "Check how its name is spelt.")
            case ssl.SSLCertVerificationError():
                return errors.TLSMismatch(
                    f"The certificate of {url} cannot be trusted: {quote(cause.verify_message)}.",
                    "Have this machine trust it (SSL_CERT_FILE), or use another address.",
                )
            case ssl.SSLError():
                return errors.TLSMismatch(
                    f"What listens at {url} does not speak TLS.", "Write http:// in place of https://."
                )
    return errors.NotListening(f"No server answers at {url}.", "Check that it runs and that the address is right.")


def _connect_timeout(_: Exception, call: RequestContext) -> ServerError:
    return errors.NotListening(
        f"{call.base_url} did not take the connection in time.",
        "Check host and port; a firewall may be in between.",
    )


def _no_answer(error: Exception, call: RequestContext) -> ServerError:
    if call.answered:
        return connection_lost(call)
    if any(isinstance(cause, ssl.SSLError) for cause in _chain(error)):
        return _not_connected(error, call)
    return errors.NoAnswer(
        f"What listens at {call.base_url} closed the connection without an HTTP answer.",
        "Check that the server still runs and that the address is right; one with TLS needs https://.",
    )


def _proxy(_: Exception, call: RequestContext) -> ServerError:
    return errors.NotListening(
        f"The proxy does not lead to {call.base_url}.", "Correct HTTP_PROXY or HTTPS_PROXY, or set NO_PROXY."
    )


def _read_timeout(_: Exception, call: RequestContext) -> ServerError:
    waited = f"for {call.timeout:g} second{'s' * (call.timeout != 1)}"
    if call.began:
        return errors.TimedOut(
            f"The reply stalled: nothing came {waited}.",
            "Try again, or look at the server's log; --timeout sets the wait.",
        )
    if not call.model:
        return errors.TimedOut(f"The server at {call.base_url} took too long to answer.", "Look at its log; try again.")
    return errors.TimedOut(
        f"The server at {call.base_url} took too long to begin: no first token {waited}.",
        "Try again, or look at its log; --timeout sets the wait.",
    )


def _other_timeout(_: Exception, call: RequestContext) -> ServerError:
    return errors.TimedOut(f"The server at {call.base_url} took too long to answer.", "Try again, or look at its log.")


def _pool_timeout(_: Exception, call: RequestContext) -> ServerError:
    return errors.Busy("Too many replies run at once.", "Try again in a moment.")


def _redirects(_: Exception, call: RequestContext) -> ServerError:
    return errors.NotALlamaStack(f"The address {call.base_url} leads round in a circle.", address_fix(call))


def _status_error(error: Exception, call: RequestContext) -> ServerError:
    """An HTTP status that is no success.

    Read from the body: "Error code: 401" in the exception's text would be taken for words of the engine handed on.
    """
    response = error.response  # type: ignore[attr-defined] # the client library's, which is not imported here
    origin = f"{response.url.scheme}://{response.url.netloc.decode()}"
    if response.history and not call.base_url.startswith(origin):
        return errors.NotALlamaStack(f"{call.base_url} leads to another address.", f"Use that one: {origin}.")
    return explain_status(response.status_code, getattr(error, "body", None), response.headers, call)


def _stream_error(error: Exception, call: RequestContext) -> ServerError:
    return explain_event(getattr(error, "body", None), str(error), call)


# Each exception by its class's name; the most specific class wins.
TABLE: dict[str, Explain] = {
    name: tell
    for tell, names in {
        _status_error: "APIStatusError BadRequestError AuthenticationError PermissionDeniedError NotFoundError "
        "ConflictError UnprocessableEntityError RateLimitError InternalServerError HTTPStatusError",
        _stream_error: "APIError",
        _wrapped: "APIConnectionError APITimeoutError",
        _not_connected: "ConnectError UnsupportedProtocol",
        _connect_timeout: "ConnectTimeout",
        _read_timeout: "ReadTimeout",
        _other_timeout: "TimeoutException WriteTimeout",
        _pool_timeout: "PoolTimeout",
        _proxy: "ProxyError",
        _redirects: "TooManyRedirects",
        _no_answer: "HTTPError RequestError TransportError NetworkError ReadError WriteError CloseError ProtocolError "
        "LocalProtocolError RemoteProtocolError StreamError StreamConsumed StreamClosed ResponseNotRead RequestNotRead",
        lambda _, call: no_llama_stack(
            call
        ): "LlamaStackClientError APIResponseValidationError StreamAlreadyConsumed DecodingError "
        "InvalidURL CookieConflict JSONDecodeError UnicodeDecodeError RecursionError",
    }.items()
    for name in names.split()
}
