"""The wire formats of the server generations, as data: a route, the request's payload, and chunk -> events.  Pure.

A generation that differs gets another `Dialect` in this file; nothing else changes. Shapes measured on OGX 1.5.0 and
llama-stack 0.7.3, 0.3.5 and 0.2.12; of 0.1.9 read in its code.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llama_ui.core.events import Event, Finished, Reasoning, Text, Usage
from llama_ui.core.messages import Message, SamplingOptions

Payload = dict[str, object]
Chunk = Mapping[str, Any]


@dataclass(frozen=True)
class Dialect:
    """How one generation of servers is asked for a streamed reply, and how its stream is read.

    `lacks` names the fields of `Options` that its route has no place for.
    """

    route: str
    payload: Callable[[str, Sequence[Message], SamplingOptions], Payload]
    events: Callable[[Chunk], Iterator[Event]]
    lacks: tuple[str, ...] = ()

    def unsent(self, options: SamplingOptions) -> list[str]:
        """The names of the options that were set and cannot be sent, as the page has them: "Seed"."""
        return [name.replace("_", " ").capitalize() for name in self.lacks if getattr(options, name) is not None]


def _chat_payload(model: str, messages: Sequence[Message], options: SamplingOptions) -> Payload:
    return {
        "model": model,
        "messages": [{"role": message.role, "content": _chat_content(message)} for message in messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **_set(options),
    }


def _chat_content(message: Message) -> object:
    images = [
        {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{image.data}"}}
        for image in message.images
    ]
    return [*_text_part(message), *images] if images else message.content


def _text_part(message: Message) -> list[Payload]:
    """None for a message of pictures alone: engines refuse a blank text."""
    return [{"type": "text", "text": message.content}] if message.content.strip() else []


def _chat_events(chunk: Chunk) -> Iterator[Event]:
    """Events of one chunk: `{"choices": [{"delta": {"content"}, "finish_reason"}], "usage"}`.

    Reasoning comes under the key that the engine behind the server uses; `usage` in a chunk with empty `choices`. What
    has another type than expected is passed over.
    """
    for choice in _of(list, chunk.get("choices")):
        choice = _of(dict, choice)
        delta = _of(dict, choice.get("delta"))
        if thought := _text(delta.get("reasoning_content")) or _text(delta.get("reasoning")):
            yield Reasoning(thought)
        # A refusal is the answer of a model that will not answer.
        if text := _text(delta.get("content")) or _text(delta.get("refusal")):
            yield Text(text)
        if reason := _of(str, choice.get("finish_reason")):
            yield Finished(reason)
    if usage := _of(dict, chunk.get("usage")):
        yield Usage(_of(int, usage.get("prompt_tokens")), _of(int, usage.get("completion_tokens")))


# The legacy route's stop reasons in OpenAI's words.
_FINISH_REASONS = {"end_of_turn": "stop", "end_of_message": "stop", "out_of_tokens": "length"}


def _legacy_payload(model: str, messages: Sequence[Message], options: SamplingOptions) -> Payload:
    payload: Payload = {"model_id": model, "messages": [_legacy_message(message) for message in messages]}
    if sampling := _legacy_sampling(options):
        payload["sampling_params"] = sampling
    return {**payload, "stream": True}


def _legacy_message(message: Message) -> Payload:
    images = [{"type": "image", "image": {"data": image.data}} for image in message.images]
    content = [*_text_part(message), *images] if images else message.content
    said: Payload = {"role": message.role, "content": content}
    # Without it the server answers 400.
    return said | {"stop_reason": "end_of_turn"} if message.role == "assistant" else said


def _legacy_sampling(options: SamplingOptions) -> Payload:
    """Empty where nothing is set: then the server samples greedily, with a limit of its own.

    `top_p` needs a temperature above 0, and has 0.95 as its default: what was not set is sent as 1, which changes
    nothing. A temperature of 0 is greedy by another name.
    """
    sampling: Payload = {}
    if options.temperature == 0:
        sampling["strategy"] = {"type": "greedy"}
    elif options.temperature is not None or options.top_p is not None:
        set_ones = {"temperature": options.temperature, "top_p": options.top_p}
        sampling["strategy"] = {"type": "top_p", **{name: 1.0 if v is None else v for name, v in set_ones.items()}}
    if options.max_tokens is not None:
        sampling["max_tokens"] = options.max_tokens
    return sampling


def _legacy_events(chunk: Chunk) -> Iterator[Event]:
    """Events of one chunk: `{"event": {"delta": {"type": "text", "text"}, "stop_reason"}, "metrics": [...]}`.

    The counts are 0 where the server cannot count the model's tokens.
    """
    event = _of(dict, chunk.get("event"))
    if text := _text(_of(dict, event.get("delta")).get("text")):
        yield Text(text)
    if reason := _of(str, event.get("stop_reason")):
        yield Finished(_FINISH_REASONS.get(reason, reason))
    metrics = [_of(dict, metric) for metric in _of(list, chunk.get("metrics"))]
    counts = {str(metric.get("metric")): _of(int, metric.get("value")) for metric in metrics}
    usage = Usage(counts.get("prompt_tokens", 0), counts.get("completion_tokens", 0))
    if usage != Usage(0, 0):
        yield usage


def _set(options: SamplingOptions) -> Payload:
    return {name: value for name, value in asdict(options).items() if value is not None}


def _of[T](kind: type[T], value: object) -> T:
    """The value if it is of that type, else the type's empty value."""
    return value if isinstance(value, kind) else kind()


def _text(value: object) -> str:
    """The value if it is a text, else none. Half an emoji, which JSON can hold and no page can show, becomes "�"."""
    text = _of(str, value)
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


CHAT_COMPLETIONS = Dialect("/v1/chat/completions", _chat_payload, _chat_events)
OPENAI_COMPATIBLE = Dialect("/v1/openai/v1/chat/completions", _chat_payload, _chat_events)
LEGACY = Dialect("/v1/inference/chat-completion", _legacy_payload, _legacy_events, lacks=("seed", "reasoning_effort"))
# In the order of preference: llama-stack 0.2 has the second and the third, 0.3 the first two.
DIALECTS = (CHAT_COMPLETIONS, OPENAI_COMPATIBLE, LEGACY)


def choose(routes: Collection[str]) -> Dialect | None:
    """The best of the dialects that a server with these routes speaks; None where it speaks none."""
    return next((dialect for dialect in DIALECTS if dialect.route in routes), None)
