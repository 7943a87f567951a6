"""What the client library and httpx raise, each with the error that a person is told.

The table knows the client library's exceptions by name, so that this file does not have to import it. A test fails when
one of the library's or of httpx's exceptions is missing here.
"""

import ast
import contextlib
import email.utils
import re
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from llama_ui import errors
from llama_ui.errors import ServerError, as_code, quoted


@dataclass
class Call:
    """What is being done: the address, the model asked (blank: none), and how far it got.

    `timeout`: the longest wait for the next piece of a reply, in seconds. `answered`: the server has begun to answer;
    `began`: part of the reply has come. `key`: is taken out of the server's words.
    """

    base_url: str
    model: str = ""
    timeout: float = 0.0
    answered: bool = False
    began: bool = False
    key: str | None = field(default=None, repr=False)


# No more than a day is told, whatever a server asks for: in seconds.
LONGEST_WAIT = 86_400.0

type Explain = Callable[[Exception, Call], ServerError]


def explain(error: Exception, call: Call) -> ServerError | None:
    """The error to tell; None for an exception that is neither the client library's nor httpx's."""
    for kind in type(error).__mro__:
        if kind.__name__ in TABLE:
            return TABLE[kind.__name__](error, call)
    return None


def no_llama_stack(call: Call) -> ServerError:
    """Something else answers there; in mid-reply: something broke."""
    if call.began:
        return errors.Refused("The reply broke off: what came next cannot be read.", "Try again.")
    return errors.NoSuchPath(f"What answers at {call.base_url} does not speak Llama Stack.", _address_fix(call))


def connection_lost(call: Call) -> ServerError:
    """The end of the connection came before the end of the reply."""
    return errors.ConnectionLost(
        f"The connection to {call.base_url} was lost {'in the middle of' if call.began else 'before'} the reply.",
        "Check that the server still runs; try again.",
    )


def _address_fix(call: Call) -> str:
    if call.base_url.endswith("/v1"):
        return f"Leave /v1 off the address: {call.base_url.removesuffix('/v1')}."
    return "Check the address: it is the one that the server prints at its start, without a path."


# Before an answer: the connection


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _wrapped(error: Exception, call: Call) -> ServerError:
    """The client library's "Connection error." has the reason as its cause."""
    cause = error.__cause__
    known = explain(cause, call) if isinstance(cause, Exception) else None
    return known or _not_connected(error, call)


def _not_connected(error: Exception, call: Call) -> ServerError:
    url = call.base_url
    for cause in _chain(error):
        match cause:
            case socket.gaierror():
                return errors.NameNotFound(f"The host of {url} cannot be found.", "Check how its name is spelt.")
            case ssl.SSLCertVerificationError():
                return errors.TLSMismatch(
                    f"The certificate of {url} cannot be trusted: {quoted(cause.verify_message)}.",
                    "Have this machine trust it (SSL_CERT_FILE), or use another address.",
                )
            case ssl.SSLError():
                return errors.TLSMismatch(
                    f"What listens at {url} does not speak TLS.", "Write http:// in place of https://."
                )
    return errors.NotListening(f"No server answers at {url}.", "Check that it runs and that the address is right.")


def _connect_timeout(_: Exception, call: Call) -> ServerError:
    return errors.NotListening(
        f"{call.base_url} did not take the connection in time.",
        "Check host and port; a firewall may be in between.",
    )


def _no_answer(error: Exception, call: Call) -> ServerError:
    if call.answered:
        return connection_lost(call)
    if any(isinstance(cause, ssl.SSLError) for cause in _chain(error)):
        return _not_connected(error, call)
    return errors.NoAnswer(
        f"What listens at {call.base_url} closed the connection without an HTTP answer.",
        "Check that the server still runs and that the address is right; one with TLS needs https://.",
    )


def _proxy(_: Exception, call: Call) -> ServerError:
    return errors.NotListening(
        f"The proxy does not lead to {call.base_url}.", "Correct HTTP_PROXY or HTTPS_PROXY, or set NO_PROXY."
    )


def _read_timeout(_: Exception, call: Call) -> ServerError:
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


def _other_timeout(_: Exception, call: Call) -> ServerError:
    return errors.TimedOut(f"The server at {call.base_url} took too long to answer.", "Try again, or look at its log.")


def _pool_timeout(_: Exception, call: Call) -> ServerError:
    return errors.Busy("Too many replies run at once.", "Try again in a moment.")


def _redirects(_: Exception, call: Call) -> ServerError:
    return errors.NoSuchPath(f"The address {call.base_url} leads round in a circle.", _address_fix(call))


# The answer is an error


@dataclass(frozen=True)
class _Answer:
    """An error as a server put it. `by_engine`: the server hands on what the engine behind it said.

    `code`: the error's name in OpenAI's words, such as "content_filter"; blank without one.
    """

    status: int
    detail: str
    retry_after: float | None = None
    by_engine: bool = False
    code: str = ""


def _status_error(error: Exception, call: Call) -> ServerError:
    """An HTTP status that is no success. All such exceptions have `status_code`, `response` and `body`."""
    response = error.response  # type: ignore[attr-defined] # the client library's, which is not imported here
    body = getattr(error, "body", None)
    # Not the exception's own text: its "Error code: 401" is how a server hands on the words of its engine.
    detail = _sentence(body) or str(body or "")
    return from_answer(_unwrapped(response.status_code, detail, _retry_after(response.headers), _code(body)), call)


def _stream_error(error: Exception, call: Call) -> ServerError:
    """An error inside of the stream: 200 by then, so that servers up to 0.3 put the status in front: "429: ..."."""
    body = getattr(error, "body", None)
    code = body.get("code") if isinstance(body, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 0
    return from_answer(_unwrapped(status, _sentence(body) or str(error), None, _code(body)), call)


def _sentence(body: object) -> str:
    """A server's own sentence, out of `{"error": {"message"}}`, `{"error": {"detail"}}`, `{"detail"}` or the like."""
    if isinstance(body, dict):
        inner = body.get("error") or body.get("detail") or body.get("message") or body.get("errors") or body.get("msg")
        return _sentence(inner)
    if isinstance(body, list):
        return "; ".join(filter(None, map(_sentence, body)))
    return body if isinstance(body, str) else ""


def _code(body: object) -> str:
    """A server's name for an error, out of `{"error": {"code"}}` or `{"code"}`; blank where it is none or a number."""
    if not isinstance(body, dict):
        return ""
    code = body.get("code")
    return code if isinstance(code, str) else _code(body.get("error"))


def _unwrapped(status: int, detail: str, retry_after: float | None, code: str = "") -> _Answer:
    """Takes off what servers put around an engine's words: "429: Error code: 429 - {'error': {'message': ...}}"."""
    by_engine, detail = False, detail[:10_000]
    if prefixed := re.match(r"(\d{3}): (.*)", detail, re.DOTALL):
        status, detail = int(prefixed[1]), prefixed[2]
    if handed_on := re.match(r"Error code: (\d{3})(?: - (.*))?", detail, re.DOTALL):
        status, detail, by_engine = int(handed_on[1]), handed_on[2] or "", True
        with contextlib.suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            with warnings.catch_warnings(action="ignore"):  # of escapes that Python does not know
                body = ast.literal_eval(detail)
            detail, code = _sentence(body) or detail, _code(body) or code
    return _Answer(status, detail, retry_after, by_engine, code)


def _retry_after(headers: object) -> float | None:
    """The header's seconds, or those until its date; None without it."""
    value = str(getattr(headers, "get", lambda _: None)("retry-after") or "")
    with contextlib.suppress(ValueError):
        return min(max(0.0, float(value)), LONGEST_WAIT)
    with contextlib.suppress(ValueError, TypeError):
        return min(max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time()), LONGEST_WAIT)
    return None


def from_answer(answer: _Answer, call: Call) -> ServerError:
    """The error for a status and the server's words on it. Status 0: the server named none."""
    return _by_words(answer, call) or _by_status(answer, call)


def _by_words(answer: _Answer, call: Call) -> ServerError | None:
    """What servers say in many ways, with the one or the other status."""
    said = f"{answer.code} {answer.detail}"
    if _names_no_model(answer, call):
        return errors.UnknownModel(f"The server has no model {as_code(call.model)}.", "Choose one from the Model list.")
    if answer.status in (0, 400, 413, 422, 500) and _TOO_LONG.search(said):
        return _too_long(answer.detail)
    if answer.status in (0, 400, 403, 422) and _FILTERED.search(said):
        return content_filtered()
    if answer.status == 400 and "No endpoint found" in said:  # how llama-stack 0.1 says 404
        return _no_such_path(call)
    return None


def _no_such_path(call: Call) -> ServerError:
    return errors.NoSuchPath(f"There is no Llama Stack chat route at {call.base_url}.", _address_fix(call))


def _by_status(answer: _Answer, call: Call) -> ServerError:
    status, words = answer.status, quoted(answer.detail, call.key)
    who = "The model engine behind the server" if answer.by_engine else "The server"
    again = f"Try again {_when(answer.retry_after)}."
    match status:
        case 401 | 403 if answer.by_engine:
            return errors.Refused(f"{who} refused the server's own key.", "Correct it in the server's configuration.")
        case 401 | 403:
            fix = "Set LLAMA_STACK_CLIENT_API_KEY to a valid one and start the app again."
            return errors.KeyRefused("The server refused the key.", fix)
        case 404 | 405 if not answer.by_engine:
            return _no_such_path(call)
        case 408 | 429:
            return errors.Busy(f"{who} is busy ({status}): {words}.", again)
        case 426:
            wants = f"The server wants another version of the client (426): {words}."
            return errors.Refused(wants, "Update the app, or the server.")
        case 502 | 503 | 504:
            return errors.Refused(f"{who} is not available ({status}): {words}.", again)
        case 0:
            return errors.Refused(f"The server broke off with an error: {words}.", "Try again.")
        case _ if status >= 500:
            fix = "Try again; the server's log says why. The model engine behind it may be down."
            return errors.Refused(f"{who} failed ({status}): {words}.", fix)
        case _:
            answered = f"{who} answered with an error ({status}): {words}."
            return errors.Refused(answered, "Change the request, or try again.")


def _when(retry_after: float | None) -> str:
    if retry_after is None:
        return "in a moment"
    seconds = max(1, round(retry_after))
    return f"in {seconds} second{'s' * (seconds > 1)}" if seconds < 120 else f"in {round(seconds / 60)} minutes"


def _names_no_model(answer: _Answer, call: Call) -> bool:
    if not call.model or answer.status not in (0, 400, 404):
        return False
    said = answer.detail.lower()
    return "model" in said and (
        answer.status == 404 or re.search(r"not (found|exist)|no such|unknown", said) is not None
    )


_TOO_LONG = re.compile(
    r"(?i)context[ _](length|size|window)|maximum (model|sequence) length|prompt is too long|too many tokens"
    r"|reduce the length|exceed_context|must be <= [\d,]+\. Given|must have less than [\d,]+ tokens"
)
_FILTERED = re.compile(r"(?i)content[ _](filter|management policy|policy)|violat\w+ .{0,40}(safety|shield|policy)")
# What the model takes, and what it was given, in the words of vLLM, llama.cpp, OpenAI and TGI.
_LIMITS = [
    r"context length (?:is|of) (?:only )?([\d,]+)",
    r"context size (?:of )?\(?([\d,]+)",
    r"model length (?:is |of )?\(?([\d,]+)",
    r"> ([\d,]+) maximum",
    r"must be <= ([\d,]+)",
    r"must have less than ([\d,]+)",
]
_GIVEN = [
    r"requested (?:about )?([\d,]+)",
    r"resulted in ([\d,]+)",
    r"request \(([\d,]+) tokens",
    r"\(length ([\d,]+)\)",
    r"too long: ([\d,]+)",
    r"[Gg]iven: ([\d,]+)",
    r"contains (?:at least )?([\d,]+)",
    r"has ([\d,]+) input tokens",
]
# The message and the reply's limit apart: vLLM's "(max_tokens > limit - message)" and its latest words, and TGI's.
_GIVEN_IN_TWO = re.compile(
    r"\((\d{1,11}) > \d+ - (\d{1,11})\)|passed (\d{1,11}) input tokens and requested (\d{1,11})"
    r"|Given: (\d{1,11}) \S+ tokens and (\d{1,11})"
)


def _too_long(detail: str) -> ServerError:
    limit, given = _first_number(_LIMITS, detail), _first_number(_GIVEN, detail)
    fix = 'Clear the conversation, shorten the message, or lower "Max tokens".'
    if parts := _GIVEN_IN_TWO.search(detail):
        given = sum(int(part) for part in parts.groups() if part)
    if limit and given and given > limit:
        return errors.TooLong(
            f"The conversation is too long for the model: {given:,} tokens, {given - limit:,} more than the {limit:,} "
            "that it takes.",
            fix,
        )
    takes = f" It takes {limit:,} tokens." if limit else ""
    return errors.TooLong(f"The conversation is too long for the model.{takes}", fix)


def _first_number(patterns: list[str], text: str) -> int | None:
    found = next((match for pattern in patterns if (match := re.search(pattern, text))), None)
    digits = found[1].replace(",", "") if found else ""
    return int(digits) if digits and len(digits) < 12 else None


def content_filtered() -> ServerError:
    """The server, or the engine behind it, withholds the reply."""
    return errors.Refused("A content filter stopped the reply.", "Put the message in other words.")


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
        "InvalidURL CookieConflict JSONDecodeError UnicodeDecodeError",
    }.items()
    for name in names.split()
}
