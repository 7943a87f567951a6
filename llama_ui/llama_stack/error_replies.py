"""A server's error, as a response or inside a stream, becomes the error that a person reads.

The status and the code decide. Patterns find what often has neither: an unknown model, a conversation that is too long,
a content filter, a model without vision. Most other errors are quoted in the server's own words.
"""

import ast
import html
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
# Templates of Gemma and Mistral, vLLM, OpenAI
_NO_SYSTEM = re.compile(
    r"(?i)\bsystem\W{1,3}(role|message|prompt|instruction)s?\b.{0,40}(\bnot\b|n't\b|unsupported)|roles must alternate"
    r"|(\bnot\b|n't\b|unsupported|unexpected|unknown|invalid)[^.]{0,60}(\brole\W{1,3}system\b"
    r"|\bsystem\W{1,3}(role|message|prompt|instruction))|only user.{0,40}roles? .{2,3} support"
    r"|should be 'user'.{0,20}'assistant'"
)
# Ollama, OpenAI, vLLM, Azure, OGX, llama.cpp
_NO_CHAT = re.compile(
    r"(?i)(not|n't) (support|a|work with|be used for)( the)? chat\b|chat.{0,30}(not|n't) (support|work)"
    r"|no chat template|chat template is not|of type '\w*' rather than|not support completions"
)
# The fields of a request that are the app's own, by the names that servers have for them.
_OWN_FIELDS = {
    "stream_options": r"(?i)\bstream[_ ]options?\b|\binclude_usage\b",
    "max_tokens": r"\bmax_(new_)?tokens\b",
    "continue_final_message": r"\bcontinue_final_message\b",
    "add_generation_prompt": r"\badd_generation_prompt\b",
    "chat_template_kwargs": r"\bchat_template_kwargs\b",
    # The parameter of OpenAI's errors, the place of pydantic's, the words of llama.cpp and of Groq.
    "n": r"\['n'|'n'\]|\bField 'n':|^'n' :",
}

# llama-stack, OGX: 'in the provider data header, e.g. x-llamastack-provider-data: {"openai_api_key": "<API_KEY>"}'
_PROVIDER_DATA = re.compile(r"(?i)provider[-_ ]data\b(?:.*?\{\W*(\w+))?", re.DOTALL)
_PAGE = re.compile(r"(?i)[\s\ufeff]*<(!doctype\b|!--|\?xml\b|(html|head|title|meta|body|center|div|h\d|p)\b)")
_BARE_FAILURE = re.compile(r"(?i)\W*|.*(internal server error|unexpected error).*")
# Statuses that reject what a request contains; 0 is an error inside a stream that has none.
_REJECTIONS = (0, 400, 403, 404, 413, 422, 500, 501)


@dataclass
class RequestContext:
    """A request, and how far it got."""

    base_url: str
    model: str = ""  # blank for a lookup
    timeout: float = 0.0  # the longest wait for the next chunk of a reply, in seconds
    has_key: bool = False
    has_password: bool = False  # in its address
    has_provider_data: bool = False
    secrets: Sequence[str] = field(default=(), repr=False)  # that are in use, and that no error may show
    proxy: str = ""  # the one in use, as an error names it
    proxy_answers: bool = False  # whether it may answer in the server's place: not through a tunnel
    images: int = 0  # how many the request has
    has_system: bool = False  # whether it has a system prompt
    has_response: bool = False  # with the first header
    has_content: bool = False  # with the first delta


@dataclass(frozen=True)
class _ErrorReply:
    """An error of the server, or of the engine behind it."""

    status: int  # 0 where it names none
    message: str
    code: str  # its name, such as "content_filter"
    by_engine: bool
    fields: str = ""  # all that it says, with the names of fields
    is_page: bool = False  # it is a web page, with the message as its title
    when: str = "in a moment"  # to try again


def explain_status(status: int, body: object, headers: Mapping[str, str], request: RequestContext) -> ServerError:
    """The error for a response with a status of 400 or more; `body` is its JSON, or its text where it is none."""
    if status == 401 and request.has_password:
        return errors.AuthFailed("The server refused the user name or the password.", "Correct them in the address.")
    if status == 401 and re.match(r"(?i)\s*basic\b|.*,\s*basic\s+\w+=", headers.get("www-authenticate", "")):
        sentence = "The server wants a user name and a password (Basic authentication)."
        return errors.AuthFailed(sentence, "Set the address to http://USER:PASSWORD@HOST, or https://.")
    reply = _parse(status, body, str(body or ""))
    if re.fullmatch(r"\d{1,5}", wait := headers.get("retry-after", "")):
        reply = replace(reply, when=f"in {max(1, int(wait))} s")
    return _explain(reply, request)


def explain_event(body: object, text: str, request: RequestContext) -> ServerError:
    """The error for an error inside a stream; `body` is its JSON, `text` the message where that has none."""
    codes = (str(_fields(body).get(name)) for name in ("code", "status", "status_code"))
    status = next((int(code) for code in codes if re.fullmatch("[45]\\d\\d", code)), 0)
    return _explain(_parse(status, body, text), request)


def find_error(chunk: Mapping[str, object], is_named: bool) -> object:
    """The error in a chunk of a stream, which may be in its choices or all of an unnamed event; None if it has none."""
    choices = chunk.get("choices")
    places: list[Any] = [chunk]
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            places += [choice, choice.get("delta")]
    for place in places:
        error = place.get("error") if isinstance(place, dict) else None
        if error and (not isinstance(error, dict) or any(error.values())):
            return {**chunk, "error": error}
    if is_named or "choices" in chunk or "event" in chunk or "completion_message" in chunk:
        return None
    kind = f"{chunk.get('object') or ''}{chunk.get('type') or ''}"
    is_error = not kind or re.search("(?i)err|exception|fail|^about:", kind)
    return chunk if is_error and _message(chunk) else None


def address_fix(url: str) -> str:
    """What to do about an address at which something else answers."""
    if path := re.search(r"/v1(/.*)?$", url):
        return f"Leave {path[0]} off the address: {url.removesuffix(path[0])}."
    return "Check the address: it is the one that the server prints at its start, without a path."


def _parse(status: int, body: object, text: str) -> _ErrorReply:
    """Unwraps the engine's error from "429: Error code: 429 - {'error': {'message': ...}}"."""
    message, fields, by_engine = (_message(body) or text)[:100_000], _fields(body), False
    if prefix := re.match(r"(\d{3}): (.*)", message, re.DOTALL):  # inside the streams of llama-stack up to 0.3
        status, message = int(prefix[1]), prefix[2]
    if engine := re.match(r"Error code: (\d{3})(?: - (.*))?", message, re.DOTALL):  # the words of OpenAI's client
        status, message, by_engine = int(engine[1]), engine[2] or "", True
        body = _literal(message)
        message, fields = _message(body) or message, _fields(body) or fields
    # The name of the error: OpenAI has it as `code`, llama.cpp as `type`.
    code = " ".join(str(fields[name])[:100] for name in ("code", "type") if name in fields)
    if is_page := _PAGE.match(message) is not None:
        titles = re.findall(r"(?is)<(title|h1|h2)\b[^>]*>(.{1,1000}?)</\1", message)
        texts = (html.unescape(re.sub("<[^>]*>", "", title)).strip() for _, title in titles)
        message = next(filter(None, texts), "a web page")
    return _ErrorReply(status, message[:2_000], code, by_engine, f"{message[:2_000]} {_places(body)}", is_page)


def _message(body: object) -> str:
    """The sentence in `{"error": {"message"}}`, `{"error": {"detail"}}`, `{"detail"}` and the like; else blank."""
    if isinstance(body, dict):
        keys = ("error", "detail", "message", "errors", "msg", "error_message", "reason", "title")
        return next(filter(None, (_message(body.get(key)) for key in keys)), "")
    if isinstance(body, list):
        return "; ".join(filter(None, map(_message, body)))
    return body if isinstance(body, str) else ""


def _places(body: object) -> str:
    """The names of the fields that an error is about, in OpenAI's form and in pydantic's."""
    detail = body.get("detail") if isinstance(body, dict) else None
    found = [_fields(body), *(detail if isinstance(detail, list) else ())]
    return " ".join(str([item.get("param"), item.get("loc")]) for item in found if isinstance(item, Mapping))[:2_000]


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
    if status in (0, 400, 401, 403, 500) and (provider := _PROVIDER_DATA.search(message[:1_000])):
        verb = "Correct" if request.has_provider_data else "Set"
        name = provider[1] or "openai_api_key"
        fix = f'{verb} LLAMA_STACK_CLIENT_PROVIDER_DATA, for example to {{"{name}": "KEY"}}.'
        return errors.AuthFailed("The server's provider wants its key from the client.", fix)
    if status in _REJECTIONS and (rejection := _explain_rejection(reply, request, text)):
        return rejection
    if status == 400 and re.search(r"HTTP request (was sent )?to (an )?HTTPS", message):  # nginx, Go
        sentence = f"What listens at {request.base_url} expects TLS."
        return errors.TLSMismatch(sentence, "Write https:// in place of http://.")
    return _by_status(reply, request)


def _explain_rejection(reply: _ErrorReply, request: RequestContext, text: str) -> ServerError | None:
    """The error for a request that is refused for what is in it; None where nothing is known of that."""
    words = quote(reply.message, request.secrets)
    if request.images and _NO_VISION.search(text):
        return text_only_model(request.model)
    if _TOO_LONG.search(text):
        return _too_long(reply)
    if "content_filter" in reply.code or _FILTERED.search(reply.message):
        return errors.ContentFiltered()
    if request.has_system and _NO_SYSTEM.search(text):
        return errors.BadReply(f"The model takes no system prompt: {words}.", "Empty the system prompt.")
    if _NO_CHAT.search(text):
        return errors.BadReply(f"The model {as_code(request.model)} does not chat: {words}.", "Choose a chat model.")
    field = next((name for name, names in _OWN_FIELDS.items() if re.search(names, reply.fields)), None)
    if field and reply.status in (0, 400, 422):
        instead = "reasoning_effort" if field == "chat_template_kwargs" else None
        if field == "max_tokens" and re.search(r"\bmax_completion_tokens\b", reply.fields):
            instead = "max_completion_tokens"
        sentence = f"The server refused {as_code(field)}: {words}."
        return errors.FieldRefused(sentence, "Change the request.", field, instead)
    if request.images and reply.status == 500 and _BARE_FAILURE.fullmatch(reply.message):
        fix = "The picture may be the reason: undo the message, or choose a model that takes pictures."
        return errors.MessageRefused(f"The server failed (500): {words}.", fix)
    return None


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
    status, words = reply.status, quote(reply.message, request.secrets)
    who = "The model engine behind the server" if reply.by_engine else "The server"
    again = f"Try again {reply.when}."
    match status:
        case 401 | 403 if reply.by_engine and request.has_provider_data:
            return errors.AuthFailed(f"{who} refused the key.", "Correct LLAMA_STACK_CLIENT_PROVIDER_DATA.")
        case 401 | 403 if reply.by_engine:
            return errors.BadReply(f"{who} refused the server's own key.", "Correct it in the server's configuration.")
        case 401 | 403 if status == 401 or not reply.is_page:
            fix = "Set LLAMA_STACK_CLIENT_API_KEY to a valid one and start the app again."
            return errors.AuthFailed(f"The server {'refused the' if request.has_key else 'wants a'} key.", fix)
        case 400 | 404 | 405 if not reply.by_engine and (status > 400 or "No endpoint found" in reply.message):
            # llama-stack 0.1 answers 400
            url = request.base_url
            return errors.NotALlamaStack(f"There is no Llama Stack chat route at {url}.", address_fix(url))
        case 408 | 429:
            return errors.Busy(f"{who} is busy ({status}): {words}.", again)
        case 413:
            fix = "Send fewer or smaller pictures, or raise the limit of the server (in nginx: client_max_body_size)."
            sentence = f"The request is too large for the server, or for a proxy in front of it: {words}."
            return errors.MessageRefused(sentence, fix)
        case 502 | 503 | 504:
            return errors.BadReply(f"{who} is not available ({status}): {words}.", again)
        case 0:
            return errors.BadReply(f"The server broke off with an error: {words}.", "Try again.")
        case _ if status >= 500:
            fix = "Try again; the server's log says why. The model engine behind it may be down."
            return errors.BadReply(f"{who} failed ({status}): {words}.", fix)
    kind = errors.MessageRefused if status in (400, 422) else errors.BadReply
    return kind(f"{who} answered with an error ({status}): {words}.", "Change the request, or try again.")
