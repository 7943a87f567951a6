"""The wire formats of the server generations: a route, the request's payload, and the events of a chunk.

Another generation needs another `Dialect` here. Measured on OGX 1.5.0 and llama-stack 0.7.3, 0.3.5
and 0.2.12; 0.1.9 from its code.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from llama_ui.core.events import Event, Finished, Reasoning, Sample, Text, Token, Tokens, Usage
from llama_ui.core.messages import Message, SamplingOptions, option_label
from llama_ui.core.option_values import schema_of

_TOKEN = TypeAdapter(Token)

Payload = dict[str, object]
Chunk = Mapping[str, Any]


@dataclass(frozen=True)
class Dialect:
    """A wire format. `lacks` has the names of the `SamplingOptions` that its route has no field for."""

    route: str
    write: Callable[[str, Sequence[Message], SamplingOptions], Payload]
    events: Callable[[Chunk], Iterator[Event]]
    lacks: tuple[str, ...] = ()

    def payload(self, model: str, messages: Sequence[Message], options: SamplingOptions) -> Payload:
        """The JSON of a request. The last message is the user's, or the beginning of an answer that is to go on."""
        unset: dict[str, Any] = dict.fromkeys(self.lacks)
        return self.write(model, messages, replace(options, **unset))

    def unsupported(self, options: SamplingOptions) -> list[str]:
        """The labels of the options that are set and that the route lacks, such as "Seed"."""
        names = [name for name in self.lacks if name != "n"]  # in place of which there are as many requests
        return [option_label(name) for name in names if getattr(options, name) is not None]


def _chat_payload(model: str, messages: Sequence[Message], options: SamplingOptions) -> Payload:
    ours = ("streaming", "app_limit", "thinking", "extra_body")
    fields: Payload = {
        "model": model,
        "messages": [{"role": message.role, "content": _chat_content(message)} for message in messages],
        "stream": options.streaming,
        "stream_options": {"include_usage": True} if options.streaming else None,
        **{name: value for name, value in asdict(options).items() if name not in ours},
        "logprobs": None if options.top_logprobs is None else True,
        "chat_template_kwargs": None if options.thinking is None else {"enable_thinking": options.thinking},
    }
    if messages[-1:] and messages[-1].role == "assistant":  # vLLM begins a new answer without these two
        fields |= {"continue_final_message": True, "add_generation_prompt": False}
    return _merged(fields, options)


def _merged(fields: Payload, options: SamplingOptions) -> Payload:
    """The fields that are set, with the extra ones. An object in these is merged with the field of its name."""
    body = {name: value for name, value in fields.items() if value is not None}
    for name, value in (options.extra_body or {}).items():
        ours = body.get(name)
        body[name] = ours | value if isinstance(ours, dict) and isinstance(value, dict) else value
    return body


def _chat_content(message: Message) -> object:
    images = [{"type": "image_url", "image_url": {"url": image.data_url}} for image in message.images]
    return [*_text_part(message), *images] if images else message.content


def _text_part(message: Message) -> list[Payload]:
    """Empty for a message of only images: engines refuse a blank text."""
    return [{"type": "text", "text": message.content}] if message.content.strip() else []


def _chat_events(chunk: Chunk) -> Iterator[Event]:
    """The events of `{"choices": [{"index", "delta": {"content"}, "logprobs", "finish_reason"}], "usage"}`.

    Other types are ignored. `usage` comes in a chunk with empty `choices`.
    """
    for choice in _of(list, chunk.get("choices")):
        index = _count(_of(dict, choice).get("index"))
        for event in _choice_events(_of(dict, choice)):
            if index is None:
                yield event
            elif isinstance(event, Text | Reasoning | Finished):
                yield Sample(index, event)
    if usage := chunk.get("usage") or _of(dict, chunk.get("x_groq")).get("usage"):
        yield from _usage(_of(dict, usage))


def _choice_events(choice: Chunk) -> Iterator[Event]:
    """The events of one reply. Reasoning comes under the key that the engine behind the server uses.

    Some servers send a whole completion, with `message` in place of `delta`, or parts of a text.
    """
    delta = _of(dict, choice.get("delta"))
    if message := choice.get("message"):
        delta = _of(dict, message) | delta
    reasoning = delta.get("reasoning_content") or delta.get("reasoning") or delta.get("thinking")
    for text in _texts(reasoning):
        yield Reasoning(text.text)
    # The refusal is the text of a model that declines.
    content = delta.get("content") or delta.get("refusal") or choice.get("text") or choice.get("delta")
    yield from _texts(content if content is not delta else None)
    if (logprobs := choice.get("logprobs")) and not (reasoning and not delta.get("content")):
        yield from _tokens(_of(list, _of(dict, logprobs).get("content")))
    if delta.get("tool_calls") or delta.get("function_call"):
        yield Finished("tool_calls")  # whatever reason follows
    if reason := _of(str, choice.get("finish_reason")):
        yield Finished(reason)


def _tokens(listed: Sequence[object]) -> Iterator[Tokens]:
    """The tokens in a list of `{"token", "logprob", "top_logprobs": [{"token", "logprob"}]}`, without blank ones."""
    found = []
    for item in listed:
        with suppress(ValidationError):
            found.append(_TOKEN.validate_python(item))
    if tokens := tuple(token for token in found if token.token):
        yield Tokens(tokens)


def _texts(content: object) -> Iterator[Text | Reasoning]:
    """The texts of a message's content: a text, or parts such as `{"type": "thinking", "thinking": [...]}`."""
    match content:
        case str() if content:
            yield Text(content)
        case list():
            for part in content:
                yield from _texts(part)
        case dict():
            inner = next(filter(None, map(content.get, ("text", "thinking", "reasoning", "content", "refusal"))), None)
            is_reasoning = re.search("think|reason|summary", str(content.get("type")))
            yield from (Reasoning(text.text) if is_reasoning else text for text in _texts(inner))


def _usage(counts: Mapping[str, object]) -> Iterator[Usage]:
    """The counts of tokens by any of their names. One that is 0 stands for a server that cannot count them."""
    names = (
        ("prompt_tokens", "input_tokens", "promptTokens", "inputTokens", "prompt_token_count", "prompt_eval_count"),
        ("completion_tokens", "output_tokens", "completionTokens", "outputTokens", "generated_tokens", "eval_count"),
    )
    prompt, completion = (next(filter(None, (_count(counts.get(name)) for name in group)), None) for group in names)
    if prompt or completion:
        yield Usage(prompt, completion)


def _count(value: object) -> int | None:
    """A whole number, which may be sent as a float or a text."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value[:12])
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        return None
    return int(value)


# The legacy route's stop reasons in OpenAI's words.
_FINISH_REASONS = {"end_of_turn": "stop", "end_of_message": "stop", "out_of_tokens": "length"}


def _legacy_payload(model: str, messages: Sequence[Message], options: SamplingOptions) -> Payload:
    form = options.response_format or {}
    fields: Payload = {
        "model_id": model,
        "messages": [*map(_legacy_message, messages)],
        "stream": options.streaming,
        "sampling_params": _legacy_sampling(options) or None,
        "response_format": {"type": "json_schema", "json_schema": schema} if (schema := schema_of(form)) else None,
        "logprobs": None if options.top_logprobs is None else {"top_k": options.top_logprobs},
    }
    return _merged(fields, options)


def _legacy_message(message: Message) -> Payload:
    images = [{"type": "image", "image": {"data": image.data}} for image in message.images]
    content = [*_text_part(message), *images] if images else message.content
    ending = {"stop_reason": "end_of_turn"} if message.role == "assistant" else {}  # without it, the server answers 400
    return {"role": message.role, "content": content, **ending}


def _legacy_sampling(options: SamplingOptions) -> Payload:
    """Empty if nothing is set; the server then samples greedily, with a limit of its own.

    The strategy "top_p" needs a temperature above 0, and defaults to a top_p of 0.95. An option that is not set is sent
    as 1, which changes nothing.
    """
    sampling: Payload = {} if options.max_tokens is None else {"max_tokens": options.max_tokens}
    sampling |= {"stop": options.stop} if options.stop else {}
    if options.temperature == 0:
        sampling["strategy"] = {"type": "greedy"}
    elif options.temperature is not None or options.top_p is not None:
        temperature = 1.0 if options.temperature is None else options.temperature
        top_p = 1.0 if options.top_p is None else options.top_p
        sampling["strategy"] = {"type": "top_p", "temperature": temperature, "top_p": top_p}
    return sampling


def _legacy_events(chunk: Chunk) -> Iterator[Event]:
    """The events of `{"event": {"delta": {"type": "text", "text"}, "stop_reason"}, "metrics": [...]}`.

    Where the server does not stream, `completion_message` has the content and the stop reason, beside the `logprobs`.
    """
    event = _of(dict, chunk.get("event") or chunk.get("completion_message"))
    delta = _of(dict, event.get("delta"))
    if delta.get("type") == "tool_call" or event.get("tool_calls"):
        yield Finished("tool_calls")
    else:
        yield from _texts(delta or event.get("delta") or event.get("content"))
    if reason := _of(str, event.get("stop_reason")):
        yield Finished(_FINISH_REASONS.get(reason, reason))
    text = delta.get("text") or event.get("content")
    yield from _legacy_tokens(_of(str, text), _of(list, event.get("logprobs") or chunk.get("logprobs")))
    metrics = [_of(dict, metric) for metric in _of(list, chunk.get("metrics"))]
    yield from _usage({str(metric.get("metric")): metric.get("value") for metric in metrics})


def _legacy_tokens(text: str, listed: Sequence[object]) -> Iterator[Tokens]:
    """The tokens in a list of `{"logprobs_by_token": {token: logprob}}`: at each place, the one that the text has."""
    found = []
    for item in listed:
        by_token = _of(dict, _of(dict, item).get("logprobs_by_token"))
        likeliest = sorted(by_token.items(), key=lambda pair: -pair[1])
        chosen = max((token for token in by_token if text.startswith(token)), key=len, default="")
        pairs = [{"token": token, "logprob": logprob} for token, logprob in likeliest]
        found.append({"token": chosen, "logprob": by_token.get(chosen), "top_logprobs": pairs})
        text = text.removeprefix(chosen)
    yield from _tokens(found)


def _of[T](kind: type[T], value: object) -> T:
    """The value if it has that type, or else the type's empty value."""
    return value if isinstance(value, kind) else kind()


# The first two routes drop fields that they do not know (read in the code of 0.1.9 and 0.2.23).
_ONLY_KNOWN = ("thinking", "extra_body")
_LEGACY_LACKS = ("seed", "reasoning_effort", "n", "frequency_penalty", "presence_penalty", *_ONLY_KNOWN)
LEGACY = Dialect("/v1/inference/chat-completion", _legacy_payload, _legacy_events, lacks=_LEGACY_LACKS)
OPENAI_COMPATIBLE = Dialect("/v1/openai/v1/chat/completions", _chat_payload, _chat_events, lacks=_ONLY_KNOWN)
CHAT_COMPLETIONS = Dialect("/v1/chat/completions", _chat_payload, _chat_events)
# In order of preference: llama-stack 0.2 has the second and the third, 0.3 the first two.
DIALECTS = (CHAT_COMPLETIONS, OPENAI_COMPATIBLE, LEGACY)


def choose(routes: Collection[str]) -> Dialect | None:
    """The preferred dialect of a server with these routes; None if it has no chat route."""
    return next((dialect for dialect in DIALECTS if dialect.route in routes), None)
