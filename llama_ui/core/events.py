"""The events that make up a model's reply.

`Queued`, `Notice` and `RequestSent` come first, then deltas of `Text` and `Reasoning`, at most one `Usage`, `Finished`.
`Tokens` come with the texts, where they are asked for, and `Received` at the end.
"""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

MOST_LOGPROB = 0.01  # above 0, since some engines round up


@dataclass(frozen=True, slots=True)
class Text:
    """A delta of the answer. `caught_up`: whether it is all that has arrived so far."""

    text: str
    caught_up: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A delta of the model's reasoning before the answer. `caught_up`: whether it is all that has arrived so far."""

    text: str
    caught_up: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Token:
    """A token of an answer with the natural logarithm of its probability, and the likeliest ones at its place.

    Its fields have their names in OpenAI's API.
    """

    token: str
    logprob: Annotated[float, Field(le=MOST_LOGPROB, allow_inf_nan=False)]
    top_logprobs: tuple["Token", ...] = ()  # the likeliest first; the token itself may be one of them


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a delta of the answer."""

    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """The server's counts of tokens; None for one that it does not give."""

    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of the reply, with the reason in OpenAI's terms: "stop", "length", "content_filter", "tool_calls", ..."""

    finish_reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the person should know about the request, as one sentence in Markdown."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Queued:
    """The request's position in the queue, from 1; 0 once it leaves the queue."""

    position: int


@dataclass(frozen=True, slots=True)
class RequestSent:
    """The request goes out now, with the server's own name for the model."""

    model: str


@dataclass(frozen=True, slots=True)
class Received:
    """What came back: the headers of the response without secrets, and the end of its body, as received."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str


@dataclass(frozen=True, slots=True)
class Sample:
    """An event of another reply than the first, where several were asked for. `index` counts from 1."""

    index: int
    event: Text | Reasoning | Finished


type Event = Text | Reasoning | Tokens | Usage | Finished | Notice | Queued | RequestSent | Received | Sample
