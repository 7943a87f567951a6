"""From what Gradio keeps of a conversation to the messages that a Llama Stack server gets.  Pure.

Gradio's history holds more than was said: waiting and error notes, thinking blocks, null fields. `from_gradio` keeps
what a person and the model said, and nothing else.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from llama_ui.core.errors import InputError
from llama_ui.core.text import as_code

Role = Literal["system", "user", "assistant"]
REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")  # as OpenAI's API has them
_DATA_URL = re.compile(r"data:(image/[a-z]+);base64,([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True, slots=True)
class Image:
    """A picture. `media_type` is "image/png", ...; `data` its file in base64."""

    media_type: str
    data: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the model gets it. Only a user's has images; without any `content` is never blank."""

    role: Role
    content: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How the model samples, and how long it thinks. None: not sent, the server's own default holds."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    reasoning_effort: str | None = None


def from_gradio(message: object, history: object, system_prompt: object) -> list[Message]:
    """The messages to send: the system prompt unless blank, then `user` and `assistant` in strict alternation.

    The last one is the new message of the user. Shapes of `history` (Gradio 6.31): a list of
    `{"role", "metadata", "content", "options"}`; `content` and `message` a string, or a list of strings and of parts:
    `{"type": "text", "text"}`, or `{"type": "component", "component": "image", "value": {"url": "data:image/..."}}`.
    Any other part, such as a file by its path or a picture by its address, is left out.

    A user message that got no answer (stopped, or failed) is joined with the next one by a blank line, so that nothing
    which the person wrote is lost and no two user messages follow each other. Roles other than user and assistant are
    left out: the system prompt is the only system message, whatever history a caller makes up.
    """
    turns = [Message("system", _text(system_prompt))] if _text(system_prompt).strip() else []
    start = len(turns)
    for turn in [*_turns(history), Message("user", _text(message), images(message))]:
        if not turn.content.strip() and not turn.images:
            continue
        if len(turns) == start and turn.role == "assistant":
            continue  # nobody has asked anything yet
        if len(turns) > start and turns[-1].role == turn.role:
            text = "\n\n".join(text for text in (turns[-1].content, turn.content) if text.strip())
            turns[-1] = Message(turn.role, text, turns[-1].images + turn.images)
        else:
            turns.append(turn)
    return turns


def validate_text(label: str, text: object, most: int) -> None:
    """Raises InputError for what is no text, has half a character (which no server takes), or more than `most`."""
    if not isinstance(text, str):
        raise InputError(f"The {label} is no text.", "Send it as one.")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError(f"The {label} has characters that cannot be sent.", "Remove them.")
    if len(text) > most:
        raise InputError(f"The {label} has {len(text):,} characters; at most {most:,} are sent.", "Shorten it.")


def sanitize_text(text: str) -> str:
    """The text without NULs and halves of characters, which not every file, page and server can carry."""
    return re.sub("[\0\ud800-\udfff]", "\ufffd", text)


def message_text(item: Mapping[str, object]) -> str:
    """The text of one message of the history."""
    return _text(item.get("content"))


def images(content: object) -> tuple[Image, ...]:
    """The pictures in the content of one message. Only those that it carries itself: no address is ever followed."""
    match content:
        case {"type": "component", "component": "image", "value": {"url": str(url)}}:
            data = _DATA_URL.fullmatch(url)
            return (Image(data[1], data[2]),) if data else ()
        case list() | tuple():
            return tuple(image for part in content for image in images(part))
    return ()


def _turns(history: object) -> Iterable[Message]:
    for item in history if isinstance(history, Sequence) else ():
        if not isinstance(item, Mapping) or is_note(item):
            continue
        match item.get("role"):
            case "user":
                yield Message("user", message_text(item), images(item.get("content")))
            case "assistant":
                yield Message("assistant", message_text(item))


def is_note(item: Mapping[str, object]) -> bool:
    """Whether the UI wrote this message (waiting, thinking, an error) and not a person or the model.

    The UI's own messages carry a `metadata.id`, and thinking blocks a `metadata.title`; both come back in the history.
    """
    metadata = item.get("metadata")
    return isinstance(metadata, Mapping) and bool(metadata.get("id") or metadata.get("title"))


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        text = content.get("text")
        return text if isinstance(text, str) else ""
    if isinstance(content, Sequence):
        return "\n\n".join(filter(None, map(_text, content)))
    return ""


def parse_sampling_options(
    temperature: object, top_p: object, max_tokens: object, seed: object, reasoning_effort: object = None
) -> SamplingOptions:
    """The options as entered: numbers, or texts as they stand in a text box. Blank: left to the server.

    Raises InputError with one sentence that names the option, the value and what it may be.
    """
    return SamplingOptions(
        temperature=_number("Temperature", temperature, 0, 2),
        top_p=_number("Top p", top_p, 0, 1),
        max_tokens=_whole("Max tokens", max_tokens, 1),
        seed=_whole("Seed", seed, 0),
        reasoning_effort=_effort(reasoning_effort),
    )


def _effort(value: object) -> str | None:
    text = _entered(value).lower()
    if text and text not in REASONING_EFFORTS:
        raise InputError(
            f"Reasoning effort is {as_code(text, 40)}.", f"Choose one of {', '.join(REASONING_EFFORTS)}, or nothing."
        )
    return text or None


def _number(label: str, value: object, least: float, most: float) -> float | None:
    text = _entered(value)
    if not text:
        return None
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise InputError(f"{label} is {as_code(text, 40)}.", f"Enter a number from {least} to {most}, or nothing.")
    return number


def _whole(label: str, value: object, least: int) -> int | None:
    text = _entered(value)
    if not text:
        return None
    digits = text.removesuffix(".0")  # of a number that a program sent
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and least <= int(digits) < 2**31):
        raise InputError(f"{label} is {as_code(text, 40)}.", f"Enter a whole number from {least}, or nothing.")
    return int(digits)


def _entered(value: object) -> str:
    return "" if value is None else str(value).strip()
