"""What is sent to a model: messages, images and sampling options, and the checks on their values."""

import math
import re
from dataclasses import dataclass
from typing import Literal, Self

from llama_ui.core.errors import InputError

Role = Literal["system", "user", "assistant"]
REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")  # the values of OpenAI's API
_DATA_URL = re.compile(r"data:(image/[a-z]+);base64,([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its media type, such as "image/png", and its file in base64."""

    media_type: str
    data: str

    @property
    def data_url(self) -> str:
        """The image as a `data:` URL."""
        return f"data:{self.media_type};base64,{self.data}"

    @classmethod
    def from_data_url(cls, url: str) -> Self | None:
        """The image in a `data:` URL; None for any other URL, which is never fetched."""
        found = _DATA_URL.fullmatch(url)
        return cls(found[1], found[2]) if found else None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a request. Only a user message has images; without images the content is never blank."""

    role: Role
    content: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How the model samples, how long it thinks, and whether it streams. One that is None is left to the server."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    streaming: bool = True
    app_limit: bool = False  # whether max_tokens is a limit of the app, which nobody has asked for


def validate_text(label: str, text: object, max_chars: int) -> None:
    """Checks that a value is a text that can be sent. The `label` names it in the error message.

    Raises:
        InputError: It is not a text, is too long, or has half a surrogate pair, which no server accepts.
    """
    if not isinstance(text, str):
        raise InputError(f"The {label} is not a text.", "Send it as text.")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError(f"The {label} has characters that cannot be sent.", "Remove them.")
    if len(text) > max_chars:
        raise InputError(f"The {label} has {len(text):,} characters; at most {max_chars:,} are sent.", "Shorten it.")


def sanitize_text(text: str) -> str:
    """Replaces NULs and halves of surrogate pairs, which not every file, page and server can carry."""
    return re.sub("[\0\ud800-\udfff]", "\ufffd", text)


def parse_sampling_options(
    temperature: str = "",
    top_p: str = "",
    max_tokens: str = "",
    seed: str = "",
    reasoning_effort: str = "",
    streaming: str = "",
) -> SamplingOptions:
    """Reads sampling options from the texts of a form. A blank one is left to the server; `streaming` may be "off".

    Raises:
        InputError: A value is not a number, out of range, or no choice of its option.
    """
    effort = reasoning_effort.strip().lower()
    if effort and effort not in REASONING_EFFORTS:
        raise InputError(f"Reasoning effort must be {', '.join(REASONING_EFFORTS)}, or empty.", "")
    if (stream := streaming.strip().lower()) not in ("", "off"):
        raise InputError("Streaming must be off, or empty.", "")
    return SamplingOptions(
        temperature=_number("Temperature", temperature.strip(), 2),
        top_p=_number("Top p", top_p.strip(), 1),
        max_tokens=_whole_number("Max tokens", max_tokens.strip(), 1),
        seed=_whole_number("Seed", seed.strip(), 0),
        reasoning_effort=effort or None,
        streaming=not stream,
    )


def _number(label: str, text: str, maximum: int) -> float | None:
    if not text:
        return None
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not 0 <= number <= maximum:
        raise InputError(f"{label} must be 0–{maximum}, or empty.", "")
    return number


def _whole_number(label: str, text: str, minimum: int) -> int | None:
    if not text:
        return None
    digits = text.removesuffix(".0")  # of a number that a program sent
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and minimum <= int(digits) < 2**31):
        raise InputError(f"{label} must be a whole number from {minimum}, or empty.", "")
    return int(digits)
