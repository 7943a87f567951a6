"""What a server says instead of a reply: its status and its words, read into the error that a person is told.  Pure."""

import ast
import contextlib
import email.utils
import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

from llama_ui.core import errors
from llama_ui.core.errors import ServerError
from llama_ui.core.text import as_code, quote
from llama_ui.llama_stack.models import text_only_model

# No more than a day is told, whatever a server asks for: in seconds.
LONGEST_WAIT = 86_400.0


@dataclass
class RequestContext:
    """What is being done: the address, the model asked (blank: none), and how far it got.

    `timeout`: the longest wait for the next piece of a reply, in seconds. `answered`: the server has begun to answer;
    `began`: part of the reply has come. `key`: is taken out of the server's words. `images`: how many
    pictures the request carries.
    """

    base_url: str
    model: str = ""
    timeout: float = 0.0
    answered: bool = False
    began: bool = False
    key: str | None = field(default=None, repr=False)
    images: int = 0


@dataclass(frozen=True)
class _Answer:
    """An error as a server put it. `by_engine`: the server hands on what the engine behind it said.

    `status` 0: the server named none. `code`: the error's name, such as "content_filter"; blank without one.
    """

    status: int
    detail: str
    retry_after: float | None = None
    by_engine: bool = False
    code: str = ""


def explain_status(status: int, body: object, headers: Mapping[str, str], call: RequestContext) -> ServerError:
    """The error for an HTTP status that is no success. `body`: its JSON, or its text."""
    return _explain(_unwrapped(status, _sentence(body) or str(body or ""), _retry_after(headers), _code(body)), call)


def explain_event(body: object, text: str, call: RequestContext) -> ServerError:
    """The error for one inside of a stream: the status is 200 by then, and old servers put theirs in front: "429: "."""
    code = body.get("code") if isinstance(body, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 0
    return _explain(_unwrapped(status, _sentence(body) or text, None, _code(body)), call)


def address_fix(call: RequestContext) -> str:
    """What to do about an address at which something else answers."""
    if path := re.search(r"/v1(/.*)?$", call.base_url):
        return f"Leave {path[0]} off the address: {call.base_url.removesuffix(path[0])}."
    return "Check the address: it is the one that the server prints at its start, without a path."


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
    return code[:100] if isinstance(code, str) else _code(body.get("error"))


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
    return _Answer(status, detail[:2_000], retry_after, by_engine, code)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The header's seconds, or those until its date; None without it."""
    value = headers.get("retry-after") or ""
    with contextlib.suppress(ValueError):
        return min(max(0.0, float(value)), LONGEST_WAIT)
    with contextlib.suppress(ValueError, TypeError):
        return min(max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time()), LONGEST_WAIT)
    return None


def _explain(answer: _Answer, call: RequestContext) -> ServerError:
    return _by_words(answer, call) or _by_status(answer, call)


def _by_words(answer: _Answer, call: RequestContext) -> ServerError | None:
    """What servers say in many ways, with the one or the other status."""
    status, said = answer.status, answer.detail
    if _names_no_model(answer, call):
        if answer.by_engine:
            missing = f"The model engine behind the server has no model {as_code(call.model)}."
            return errors.BadReply(missing, "Choose another model, or load this one there.")
        return errors.UnknownModel(f"The server has no model {as_code(call.model)}.", "Choose one that it lists.")
    if call.images and status in (0, 400, 404, 422, 500, 501) and (refused := _pictures_refused(answer, call)):
        return refused
    if status in (0, 400, 413, 422, 500) and _is_too_long(f"{answer.code} {said}"):
        return _too_long(said)
    if answer.code == "content_filter" or (status in (0, 400, 403, 422) and _FILTERED.search(said)):
        return errors.ContentFiltered()
    if status == 400 and "No endpoint found" in said:  # how llama-stack 0.1 says 404
        return _no_such_path(call)
    if status == 400 and re.search(r"HTTP request (was sent )?to (an )?HTTPS", said):  # nginx, Go
        return errors.TLSMismatch(
            f"What listens at {call.base_url} expects TLS.", "Write https:// in place of http://."
        )
    return None


def _pictures_refused(answer: _Answer, call: RequestContext) -> ServerError | None:
    """The model takes fewer pictures, or none, or one of them cannot be read; None where it is about something else."""
    said = f"{answer.code} {answer.detail}"
    limited = _AT_MOST.search(said)
    limit = int(limited[1]) if limited else None
    if limit and limit < call.images:
        takes = f"The model takes at most {limit} picture{'s' * (limit > 1)} in a conversation"
        return errors.BadReply(f"{takes}, and this one has {call.images}.", "Clear the conversation, or send fewer.")
    if limit == 0 or _BLIND.search(said):
        return text_only_model(call.model)
    if _UNREADABLE.search(said):
        which = "the picture" if call.images == 1 else "one of the pictures"
        return errors.BadReply(
            f"{_who(answer)} cannot read {which}.", "Undo the message with it, and send another one."
        )
    return None


def _who(answer: _Answer) -> str:
    return "The model engine behind the server" if answer.by_engine else "The server"


def _no_such_path(call: RequestContext) -> ServerError:
    return errors.NotALlamaStack(f"There is no Llama Stack chat route at {call.base_url}.", address_fix(call))


def _by_status(answer: _Answer, call: RequestContext) -> ServerError:
    status, words = answer.status, quote(answer.detail, call.key)
    who = _who(answer)
    again = f"Try again {_when(answer.retry_after)}."
    match status:
        case 401 | 403 if answer.by_engine:
            return errors.BadReply(f"{who} refused the server's own key.", "Correct it in the server's configuration.")
        case 401 | 403:
            fix = "Set LLAMA_STACK_CLIENT_API_KEY to a valid one and start the app again."
            return errors.AuthFailed(f"The server {'refused the' if call.key else 'wants a'} key.", fix)
        case 404 | 405 if not answer.by_engine:
            return _no_such_path(call)
        case 408 | 429:
            return errors.Busy(f"{who} is busy ({status}): {words}.", again)
        case 426:
            wants = f"The server wants another version of the client (426): {words}."
            return errors.BadReply(wants, "Update the app, or the server.")
        case 502 | 503 | 504:
            return errors.BadReply(f"{who} is not available ({status}): {words}.", again)
        case 0:
            return errors.BadReply(f"The server broke off with an error: {words}.", "Try again.")
        case _ if status >= 500:
            fix = "Try again; the server's log says why. The model engine behind it may be down."
            return errors.BadReply(f"{who} failed ({status}): {words}.", fix)
        case _:
            answered = f"{who} answered with an error ({status}): {words}."
            return errors.BadReply(answered, "Change the request, or try again.")


def _when(retry_after: float | None) -> str:
    if retry_after is None:
        return "in a moment"
    seconds = max(1, round(retry_after))
    return f"in {seconds} second{'s' * (seconds > 1)}" if seconds < 120 else f"in {round(seconds / 60)} minutes"


_NO_MODEL = re.compile(
    r"(?is)\bmodel\b.{0,200}?\b(not found|not exist|not available)|(unknown|no such|invalid) model\b|model_not_found"
)
_FILTERED = re.compile(
    r"(?i)content management policy|\b(response|prompt|request|content) was filtered"
    r"|violat\w{1,8} .{0,40}(safety|shield|policy)|blocked by .{0,20}content"
    r"|content[ _]filter\w{0,8} (was )?(triggered|blocked|stopped)"
)
# How many pictures the model takes, in the words of vLLM, new and old; Groq, Azure, Gemini; Anthropic.
_AT_MOST = re.compile(
    r"(?i)(?:\bat most (?=\d+ image)|\bimage=(?=.*limit-mm)|too many images\b.{0,120}?(?:\bmax\w*|up to)\D{0,20}"
    r"|\bimages > )(\d{1,4})\b"
)
# It takes none, as any engine may say it (lines 1 to 5), but not of a form, a size or a number; in the words of Ollama,
# OpenRouter, OpenAI, Fireworks, vLLM, DeepSeek, llama.cpp; and where a message's content is a text and nothing else.
_BLIND = re.compile(
    r"(?i)(?:\bnot|n't) support\w*(?: (?:the|any|an?|for|input|content|type|part))*[ :'\"`]+"
    r"(?:image(?:s|_url)?|vision|multi-?modal)\b(?![ /-]*(?:format|file|type|url|size|large|bigger|over|with))"
    r"|(?<!multiple )\b(?:image(?:_url)?|vision|multi-?modal)\W?(?: (?:input|content|part|block|modality)s?){0,2}"
    r" (?:(?:is|are) )?not (?:currently )?(?:supported|enabled)\b"
    r"|\bnot (?:a )?(?:multi-?modal|vision)[ -](?:model|enabled)|unsupported (?:image (?:in|con)|content\[\]\.type)"
    r"|missing data required for image|that support image input|only supported by certain models|image_ranges\) = 0"
    r"|unknown (?:part type\W+image|image model type|variant \W?image)|sequence, expected a string"
    r"|\bcontent\W{0,6}(?:value must be|must be|expected) a string|\binput should be (?:a valid string|'text')"
)
_UNREADABLE = re.compile(
    r"(?i)cannot identify image|(?:failed|unable) to (?:load|decode|open|read) (?:the )?image|image file is truncated"
    r"|\b(?:invalid|unsupported|corrupt(?:ed)?)[ _](?:base64[ _])?image|unsupported (?:mime|media) type\W{1,3}image"
    r"|(?:could not|unable to) process (?:input )?image|not represent a valid image|image format (?:is )?not supported"
)
_LENGTH = re.compile(r"(?i)context|length|tokens|prompt|input")
_TOO_MUCH = re.compile(
    r"(?i)exceed|maximum (context|model|sequence) length|longer than|too (long|large|many)|reduce the length|only \d"
    r"|must (be <=|have less than)"
)
# What the model takes, in the words of TGI; vLLM, llama.cpp, OpenAI, SGLang; and the number in front of its name.
_LIMITS = [
    r"(?:<=|less than) ([\d,]+)",
    r"(?i)(?:context|maximum|limit)[^\d.;]{0,40}([\d,]+)",
    r"(?i)(?<![\d,])([\d,]{1,14})[^\d.;]{0,20}(?:maximum|limit)",
]
# The message and the reply's limit apart: vLLM's "(max_tokens > limit - message)" and its latest words, and TGI's.
_GIVEN_IN_TWO = re.compile(
    r"\((\d{1,11}) > \d+ - (\d{1,11})\)|passed (\d{1,11}) input tokens and requested (\d{1,11})"
    r"|Given: (\d{1,11}) \S+ tokens and (\d{1,11})"
)


def _names_no_model(answer: _Answer, call: RequestContext) -> bool:
    return bool(call.model and answer.status in (0, 400, 404) and _NO_MODEL.search(f"{answer.code} {answer.detail}"))


def _is_too_long(said: str) -> bool:
    return bool(_LENGTH.search(said) and _TOO_MUCH.search(said))


def _too_long(detail: str) -> ServerError:
    fix = 'Clear the conversation, shorten the message, or lower "Max tokens".'
    limits = [match[1] for pattern in _LIMITS if (match := re.search(pattern, detail))]
    limit = _number(limits[0]) if limits else 0
    given = max(map(_number, re.findall(r"\d[\d,]*", detail)), default=0)
    if parts := _GIVEN_IN_TWO.search(detail):
        given = sum(int(part) for part in parts.groups() if part)
    if 0 < limit < given:
        return errors.TooLong(
            f"The conversation is too long for the model: {given:,} tokens, {given - limit:,} more than the {limit:,} "
            "that it takes.",
            fix,
        )
    takes = f" It takes {limit:,} tokens." if limit else ""
    return errors.TooLong(f"The conversation is too long for the model.{takes}", fix)


def _number(digits: str) -> int:
    """0 for what is no number of tokens."""
    digits = digits.replace(",", "")
    return int(digits) if 0 < len(digits) < 12 else 0
