"""The wire formats of the server generations, as data: a route, the request's payload, and chunk -> events.  Pure.

A generation that differs gets another `Dialect` in this file; nothing else changes. Shapes measured on OGX 1.5.0 and
llama-stack 0.7.3.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llama_ui.events import Done, Event, Reasoning, Text, Usage
from llama_ui.messages import Message, Options

Payload = dict[str, object]
Chunk = Mapping[str, Any]


@dataclass(frozen=True)
class Dialect:
    """How one generation of servers is asked for a streamed reply, and how its stream is read."""

    route: str
    payload: Callable[[str, Sequence[Message], Options], Payload]
    events: Callable[[Chunk], Iterator[Event]]


def _chat_payload(model: str, messages: Sequence[Message], options: Options) -> Payload:
    return {
        "model": model,
        "messages": [asdict(message) for message in messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **{name: value for name, value in asdict(options).items() if value is not None},
    }


def _chat_events(chunk: Chunk) -> Iterator[Event]:
    """Events of one chunk: `{"choices": [{"delta": {"content"}, "finish_reason"}], "usage"}`.

    Reasoning comes under the key that the engine behind the server uses; `usage` in a chunk with empty `choices`. What
    has another type than expected is passed over.
    """
    for choice in _of(list, chunk.get("choices")):
        choice = _of(dict, choice)
        delta = _of(dict, choice.get("delta"))
        if thought := _of(str, delta.get("reasoning_content")) or _of(str, delta.get("reasoning")):
            yield Reasoning(thought)
        if text := _of(str, delta.get("content")):
            yield Text(text)
        if reason := _of(str, choice.get("finish_reason")):
            yield Done(reason)
    if usage := _of(dict, chunk.get("usage")):
        yield Usage(_of(int, usage.get("prompt_tokens")), _of(int, usage.get("completion_tokens")))


def _of[T](kind: type[T], value: object) -> T:
    """The value if it is of that type, else the type's empty value."""
    return value if isinstance(value, kind) else kind()


CHAT_COMPLETIONS = Dialect("/v1/chat/completions", _chat_payload, _chat_events)
