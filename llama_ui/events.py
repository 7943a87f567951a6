"""What a model's reply is made of, as plain values.

A reply is any number of `Text` and `Reasoning` deltas, at most one `Usage`, and one `Done`, in the order in which the
server sent them. Whatever the server's generation, a stream of these is all that the rest of the program sees.
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
class Done:
    """The model ended its reply, for the reason that the server names: "stop", "length", "content_filter", ..."""

    finish_reason: str


type Event = Text | Reasoning | Usage | Done
