"""What is sent to a model: messages, images and sampling options."""

import re
from dataclasses import dataclass
from typing import Literal, Self

from llama_ui.core import option_values as values
from llama_ui.core.errors import InputError

Role = Literal["system", "user", "assistant"]
REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")  # the values of OpenAI's API
MAX_SAMPLES = 8
# What the page calls the options whose names in OpenAI's API say too little.
_LABELS = {"response_format": "JSON schema", "top_logprobs": "Token probabilities", "n": "Samples"}
_LABELS |= {"stop": "Stop sequences", "extra_body": "Extra fields"}
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
    """How the model samples, how long it thinks, and whether it streams. One that is None is left to the server.

    `response_format` is in the shape of OpenAI's API. `n` is the number of replies to one message.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    streaming: bool = True
    response_format: values.JsonObject | None = None
    top_logprobs: int | None = None
    n: int | None = None
    stop: list[str] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    thinking: bool | None = None
    extra_body: values.JsonObject | None = None
    app_limit: bool = False  # whether max_tokens is a limit of the app, which nobody has asked for


def option_label(name: str) -> str:
    """What the page calls an option, such as "Top p"."""
    return _LABELS.get(name, name.replace("_", " ").capitalize())


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
    response_format: str = "",
    top_logprobs: str = "",
    n: str = "",
    stop: str = "",
    frequency_penalty: str = "",
    presence_penalty: str = "",
    thinking: str = "",
    extra_body: str = "",
) -> SamplingOptions:
    """Reads sampling options from the texts of a form. A blank one is left to the server; `streaming` may be "off".

    Raises:
        InputError: A value has not the form that it must have, is out of range, or no choice of its option.
    """
    thinks = values.choice("Thinking", thinking, ("on", "off"))
    samples = values.whole_number("Samples", n.strip(), 1, MAX_SAMPLES)
    return SamplingOptions(
        temperature=values.number("Temperature", temperature.strip(), 0, 2),
        top_p=values.number("Top p", top_p.strip(), 0, 1),
        max_tokens=values.whole_number("Max tokens", max_tokens.strip(), 1),
        seed=values.whole_number("Seed", seed.strip(), 0),
        reasoning_effort=values.choice("Reasoning effort", reasoning_effort, REASONING_EFFORTS) or None,
        streaming=not values.choice("Streaming", streaming, ("off",)),
        response_format=values.response_format(response_format),
        top_logprobs=values.whole_number("Token probabilities", top_logprobs.strip(), 1, 20),
        n=None if samples == 1 else samples,
        stop=values.stop_sequences(stop),
        frequency_penalty=values.number("Frequency penalty", frequency_penalty.strip(), -2, 2),
        presence_penalty=values.number("Presence penalty", presence_penalty.strip(), -2, 2),
        thinking=thinks == "on" if thinks else None,
        extra_body=values.extra_fields(extra_body),
    )
