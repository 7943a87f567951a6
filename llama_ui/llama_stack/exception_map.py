"""What httpx and the client library raise, mapped to the errors that a person reads.

The client library's classes are recognized by name, so that only `client.py` imports it.
"""

import json
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from llama_ui.core import errors
from llama_ui.core.errors import ServerError
from llama_ui.core.text import as_code, quote
from llama_ui.llama_stack.error_replies import RequestContext, address_fix, explain_event, explain_status
from llama_ui.llama_stack.received import received
from llama_ui.transport.http import Redirected


@contextmanager
def map_exceptions(request: RequestContext) -> Iterator[None]:
    """Raises a `ServerError` in place of what the client library and httpx raise, with that as its cause."""
    try:
        yield
    except Exception as error:
        if (mapped := explain(error, request)) is None:
            raise
        if isinstance(response := getattr(error, "response", None), httpx.Response):
            mapped.received = received(response, response.content, request.secrets)
        raise mapped from error


def explain(error: Exception, request: RequestContext) -> ServerError | None:
    """The error for an exception; None for one that is neither the client library's nor httpx's."""
    url = request.base_url
    names = {kind.__name__ for kind in type(error).__mro__}
    if "APIStatusError" in names:
        return _status_error(error, request)
    if "APIConnectionError" in names:  # says "Connection error." and has the reason as its cause
        cause = error.__cause__
        return (isinstance(cause, Exception) and explain(cause, request)) or _not_connected(error, request)
    if "APIError" in names:
        return explain_event(getattr(error, "body", None), str(error), request)
    match error:
        case Redirected():
            return _moved(error, url)
        case httpx.ReadTimeout() | TimeoutError():
            return timed_out(request)
        case httpx.TransportError() if request.has_response:
            return connection_lost(request)
        case httpx.TransportError() if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
            return _not_connected(error, request)
        case httpx.TransportError() if request.proxy:
            return proxy_failed(request, quote(str(error), request.secrets))
        case httpx.ConnectTimeout():
            sentence = f"{url} did not take the connection in time."
            return errors.NotListening(sentence, "Check host and port; a firewall may be in between.")
        case httpx.TimeoutException():
            return timed_out(request)
        case httpx.ConnectError():
            return _not_connected(error, request)
        case httpx.TransportError():
            fix = "Check that the server still runs and that the address is right; one with TLS needs https://."
            return errors.NoAnswer(f"What listens at {url} closed the connection without an HTTP answer.", fix)
        case httpx.TooManyRedirects():
            return errors.NotALlamaStack(f"The address {url} redirects in a loop.", address_fix(url))
        case httpx.HTTPError() | httpx.StreamError() | httpx.InvalidURL():
            return not_a_llama_stack(request)
        case json.JSONDecodeError() | UnicodeDecodeError() | RecursionError():
            return not_a_llama_stack(request)
    return None


def not_a_llama_stack(request: RequestContext) -> ServerError:
    """The error for a response that no Llama Stack gives; after the first delta, for a stream that broke."""
    if request.has_content:
        return errors.BadReply("The reply broke off: what came next cannot be read.", "Try again.")
    sentence = f"What answers at {request.base_url} does not speak Llama Stack."
    return errors.NotALlamaStack(sentence, address_fix(request.base_url))


def connection_lost(request: RequestContext) -> ServerError:
    """The error for a connection that ended after the response began and before the reply ended."""
    when = "in the middle of" if request.has_content else "before"
    sentence = f"The connection to {request.base_url} was lost {when} the reply."
    return errors.ConnectionLost(sentence, "Check that the server still runs; try again.")


def proxy_failed(request: RequestContext, words: str) -> ServerError:
    """The error for a proxy that cannot be reached, or that does not lead to the server."""
    sentence = f"The proxy {request.proxy} does not lead to {request.base_url}: {words}."
    return errors.NotListening(sentence, "Correct the variable, or list the host in NO_PROXY.")


def _moved(error: Redirected, url: str) -> ServerError:
    """Names the new base address, if the same route is behind it; another page may be a login."""
    route = error.first_url.removeprefix(url)
    location = re.sub(r"\?.*|(?<=//)[^/]*@", "", error.location)
    if location.rstrip("/").endswith(route):
        base = location.rstrip("/").removesuffix(route)
        return errors.Moved(f"{url} leads to another address.", f"Use that one: {base}.")
    sentence = f"What answers at {url} redirects to {as_code(location)}, where no Llama Stack is."
    return errors.NotALlamaStack(sentence, address_fix(url))


def _status_error(error: Exception, request: RequestContext) -> ServerError:
    response = error.response  # type: ignore[attr-defined] # the client library's class, which is not imported here
    status, body = response.status_code, getattr(error, "body", None)
    # Of what such a proxy answers, only its own words are not in JSON.
    by_proxy = request.proxy_answers and status in (403, 500, 502, 503, 504) and not isinstance(body, dict)
    if by_proxy or (request.proxy and status == 407):
        return proxy_failed(request, as_code(f"{status} {response.reason_phrase}"))
    return explain_status(status, body, response.headers, request)


def _not_connected(error: Exception, request: RequestContext) -> ServerError:
    url = request.base_url
    for cause in _causes(error):
        match cause:
            case socket.gaierror():
                return errors.NameNotFound(f"The host of {url} cannot be found.", "Check how its name is spelt.")
            case ssl.SSLCertVerificationError():
                sentence = f"The certificate of {url} cannot be trusted: {quote(cause.verify_message)}."
                fix = "Have this machine trust it (SSL_CERT_FILE), or use another address."
                return errors.TLSMismatch(sentence, fix)
            case _ if request.proxy and not cause.__cause__ and not cause.__context__:
                return proxy_failed(request, quote(str(cause), request.secrets))
            case ssl.SSLError():
                sentence = f"What listens at {url} does not speak TLS."
                return errors.TLSMismatch(sentence, "Write http:// in place of https://.")
    return errors.NotListening(f"Can't reach {url}.", "Is the server running?")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def timed_out(request: RequestContext) -> ServerError:
    """The error for a reply that does not begin, or does not go on."""
    seconds = f"{request.timeout:g} second{'s' * (request.timeout != 1)}"
    if request.has_content:
        sentence = f"The reply stalled: nothing came for {seconds}."
        return errors.TimedOut(sentence, "Try again, or look at the server's log; --timeout sets the wait.")
    sentence = f"The server at {request.base_url} took too long to "
    by_proxy = f" It is asked by way of the proxy {request.proxy}." if request.proxy else ""
    if request.model:
        sentence += f"begin: no first token for {seconds}."
        return errors.TimedOut(sentence, f"Try again, or look at its log; --timeout sets the wait.{by_proxy}")
    return errors.TimedOut(f"{sentence}answer.", f"Look at its log; try again.{by_proxy}")
