"""What a model's reply is made of, as plain values.

A reply is any number of `Text` and `Reasoning` deltas, at most one `Usage`, and one `Done`, in the order in which the
server sent them; an `InLine`, a `Notice` or a `Sent` may come before. Whatever the server's generation, a stream of
these is all that the rest of the program sees.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """A delta of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A delta of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What the server counted, in tokens."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The model ended its reply; why, in OpenAI's words: "stop", "length", "content_filter", "tool_calls", ..."""

    finish_reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What the person should know of how the request was sent: one sentence, in Markdown."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits for its turn. `place` counts from 1; 0: it is sent now."""

    position: int


@dataclass(frozen=True, slots=True)
class RequestSent:
    """The request goes out now. `model`: the server's own name for the model that it asks."""

    model: str


type Event = Text | Reasoning | Usage | Finished | Notice | Queued | RequestSent
