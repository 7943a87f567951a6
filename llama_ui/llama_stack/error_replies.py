"""A server's error, as a response or inside a stream, becomes the error that a person reads.

The status and the code decide. Patterns find what often has neither: an unknown model, a conversation that is too long,
a content filter, a model without vision. Most other errors are quoted in the server's own words.
"""

import ast
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from llama_ui.core import errors
from llama_ui.core.errors import ServerError
from llama_ui.core.text import as_code, quote
from llama_ui.llama_stack.models import text_only_model

# A llama-stack "Model 'x' not found", a vLLM "The model `x` does not exist", an OpenAI code.
_UNKNOWN_MODEL = re.compile(
    r"(?is)model_not_found|\b(unknown|no such|invalid) model\b|\bmodel\b.{0,200}?\b(not found|not exist)"
)
_TOO_LONG = re.compile(
    r"(?i)context_length_exceeded|exceed_context_size|exceeds? .{0,40}context|(prompt|input) is too long"
    r"|maximum (context|model) length|context length is only"
)
# "maximum context length is 8192 tokens", "available context size (4096 tokens)", "210000 tokens > 200000 maximum"
_LIMIT = re.compile(r"(?i)(?:(?:context|model) (?:length|size)\D{1,12}|> )(\d[\d,]{0,12})\b")
# "you requested 9000 tokens", "your request has 9000 input tokens", "request (5000 tokens)", "too long: 210000 tokens"
_LENGTH = re.compile(r"(?i)(?:requested|has|passed|resulted in|request|long:|prompt \(length) \(?(\d[\d,]{0,12})\b")
_FILTERED = re.compile(r"(?i)content management policy|\b(prompt|response) was filtered|violates .{0,40}policy")
# vLLM, llama.cpp, Ollama, OpenAI and OpenRouter
_NO_VISION = re.compile(
    r"(?i)not a multimodal model|at most 0 image|image input is not supported|support image input"
    r"|required for image input|image_url is only supported"
)
# Statuses that reject what a request contains; 0 is an error inside a stream that has none.
_REJECTIONS = (0, 400, 403, 404, 413, 422, 500)


@dataclass
class RequestContext:
    """A request, and how far it got."""

    base_url: str
    model: str = ""  # blank for a lookup
    timeout: float = 0.0  # the longest wait for the next chunk of a reply, in seconds
    api_key: str | None = field(default=None, repr=False)  # the key in use, which no error may show
    images: int = 0  # how many the request has
    has_response: bool = False  # with the first header
    has_content: bool = False  # with the first delta


@dataclass(frozen=True)
class _ErrorReply:
    """An error of the server, or of the engine behind it."""

    status: int  # 0 where it names none
    message: str
    code: str  # its name, such as "content_filter"
    by_engine: bool
    when: str = "in a moment"  # to try again


def explain_status(status: int, body: object, headers: Mapping[str, str], request: RequestContext) -> ServerError:
    """The error for a response with a status of 400 or more; `body` is its JSON, or its text where it is none."""
    reply = _parse(status, body, str(body or ""))
    if re.fullmatch(r"\d{1,5}", wait := headers.get("retry-after", "")):
        reply = replace(reply, when=f"in {max(1, int(wait))} s")
    return _explain(reply, request)


def explain_event(body: object, text: str, request: RequestContext) -> ServerError:
    """The error for an error inside a stream; `body` is its JSON, `text` the message where that has none."""
    code = _fields(body).get("code")
    return _explain(_parse(code if isinstance(code, int) and 400 <= code < 600 else 0, body, text), request)


def address_fix(url: str) -> str:
    """What to do about an address at which something else answers."""
    if path := re.search(r"/v1(/.*)?$", url):
        return f"Leave {path[0]} off the address: {url.removesuffix(path[0])}."
    return "Check the address: it is the one that the server prints at its start, without a path."


def _parse(status: int, body: object, text: str) -> _ErrorReply:
    """Unwraps the engine's error from "429: Error code: 429 - {'error': {'message': ...}}"."""
    message, fields, by_engine = (_message(body) or text)[:10_000], _fields(body), False
    if prefix := re.match(r"(\d{3}): (.*)", message, re.DOTALL):  # inside the streams of llama-stack up to 0.3
        status, message = int(prefix[1]), prefix[2]
    if engine := re.match(r"Error code: (\d{3})(?: - (.*))?", message, re.DOTALL):  # the words of OpenAI's client
        status, message, by_engine = int(engine[1]), engine[2] or "", True
        inner = _literal(message)
        message, fields = _message(inner) or message, _fields(inner) or fields
    # The name of the error: OpenAI has it as `code`, llama.cpp as `type`.
    code = " ".join(str(fields[name])[:100] for name in ("code", "type") if name in fields)
    return _ErrorReply(status, message[:2_000], code, by_engine)


def _message(body: object) -> str:
    """The sentence in `{"error": {"message"}}`, `{"error": {"detail"}}`, `{"detail"}` and the like; else blank."""
    if isinstance(body, dict):
        keys = ("error", "detail", "message", "errors", "msg")
        return _message(next(filter(None, map(body.get, keys)), None))
    if isinstance(body, list):
        return "; ".join(filter(None, map(_message, body)))
    return body if isinstance(body, str) else ""


def _fields(body: object) -> Mapping[str, object]:
    """The object that describes the error: `{"error": {...}}`, or the body itself."""
    inner = body.get("error", body) if isinstance(body, dict) else {}
    return inner if isinstance(inner, dict) else {}


def _literal(text: str) -> object:
    """The value of a Python literal, as servers print an engine's JSON; None for other text."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about unknown escapes
            return ast.literal_eval(text)
    except Exception:  # whatever the parser raises on hostile text
        return None


def _explain(reply: _ErrorReply, request: RequestContext) -> ServerError:
    status, message, text = reply.status, reply.message, f"{reply.code} {reply.message}"
    if request.model and status in (0, 400, 404) and _UNKNOWN_MODEL.search(text):
        return errors.UnknownModel(f"The server has no model {as_code(request.model)}.", "Choose one that it lists.")
    if status in _REJECTIONS:
        if request.images and _NO_VISION.search(text):
            return text_only_model(request.model)
        if _TOO_LONG.search(text):
            return _too_long(reply)
        if "content_filter" in reply.code or _FILTERED.search(message):
            return errors.ContentFiltered()
    if status == 400 and re.search(r"HTTP request (was sent )?to (an )?HTTPS", message):  # nginx, Go
        sentence = f"What listens at {request.base_url} expects TLS."
        return errors.TLSMismatch(sentence, "Write https:// in place of http://.")
    return _by_status(reply, request)


def _too_long(reply: _ErrorReply) -> ServerError:
    """Says by how much, if the server does."""
    counts = [pattern.search(reply.message) for pattern in (_LIMIT, _LENGTH)]
    limit, length = [int(count[1].replace(",", "")) if count else 0 for count in counts]
    much = f". It takes {limit:,} tokens." if limit else "."
    if 0 < limit < length:
        much = f": {length:,} tokens, {length - limit:,} more than the {limit:,} that it takes."
    fix = 'Clear the conversation, shorten the message, or lower "Max tokens".'
    return errors.TooLong(f"The conversation is too long for the model{much}", fix)


def _by_status(reply: _ErrorReply, request: RequestContext) -> ServerError:
    status, words = reply.status, quote(reply.message, request.api_key)
    who = "The model engine behind the server" if reply.by_engine else "The server"
    again = f"Try again {reply.when}."
    match status:
        case 401 | 403 if reply.by_engine:
            return errors.BadReply(f"{who} refused the server's own key.", "Correct it in the server's configuration.")
        case 401 | 403:
            fix = "Set LLAMA_STACK_CLIENT_API_KEY to a valid one and start the app again."
            return errors.AuthFailed(f"The server {'refused the' if request.api_key else 'wants a'} key.", fix)
        case 400 | 404 | 405 if not reply.by_engine and (status > 400 or "No endpoint found" in reply.message):
            # llama-stack 0.1 answers 400
            url = request.base_url
            return errors.NotALlamaStack(f"There is no Llama Stack chat route at {url}.", address_fix(url))
        case 408 | 429:
            return errors.Busy(f"{who} is busy ({status}): {words}.", again)
        case 502 | 503 | 504:
            return errors.BadReply(f"{who} is not available ({status}): {words}.", again)
        case 0:
            return errors.BadReply(f"The server broke off with an error: {words}.", "Try again.")
        case _ if status >= 500:
            fix = "Try again; the server's log says why. The model engine behind it may be down."
            return errors.BadReply(f"{who} failed ({status}): {words}.", fix)
        case _:
            sentence = f"{who} answered with an error ({status}): {words}."
            return errors.BadReply(sentence, "Change the request, or try again.")
