"""The wire formats: which one a server speaks, what is sent, and what is read from a chunk."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core.events import Event, Finished, Reasoning, Text, Usage
from llama_ui.core.messages import Image, Message, SamplingOptions
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, LEGACY, OPENAI_COMPATIBLE, Dialect, choose
from tests.support.app_process import ROOT

MESSAGES = [
    Message("system", "Be brief."),
    Message("user", "Hi."),
    Message("assistant", "Hello."),
    Message("user", "And?"),
]
IMAGES = (Image("image/png", "aWNvbg=="), Image("image/jpeg", "cGhvdG8="))
RECORDED = ROOT / "tests" / "support" / "wire" / "0.1.9"
EVERY_OPTION = SamplingOptions(temperature=0.0, top_p=0.9, max_tokens=100, seed=0, reasoning_effort="low")
UNSET = SamplingOptions()


def choice(delta: object, **more: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None, **more}]}


# A reply without streaming, as OGX 1.4.1 sends it.
WHOLE = {
    "id": "chatcmpl-1",
    "choices": [
        {
            "finish_reason": "stop",
            "index": 0,
            "logprobs": None,
            "message": {
                "content": "Hello.",
                "role": "assistant",
                "refusal": None,
                "tool_calls": None,
                "reasoning": "Hm.",
            },
        }
    ],
    "created": 0,
    "model": "one/model",
    "object": "chat.completion",
    "usage": {"completion_tokens": 3, "prompt_tokens": 7, "total_tokens": 10},
}


@pytest.mark.parametrize(
    ("routes", "dialect"),
    [
        (["/v1/models", "/v1/chat/completions", "/v1/responses"], CHAT_COMPLETIONS),
        (["/v1/openai/v1/chat/completions", "/v1/chat/completions"], CHAT_COMPLETIONS),
        (["/v1/inference/chat-completion", "/v1/openai/v1/chat/completions"], OPENAI_COMPATIBLE),
        (["/v1/inference/completion", "/v1/inference/chat-completion"], LEGACY),
        (["/v1/models", "/v1/chat/completions/{id}", "/v1/completions"], None),
    ],
)
def test_the_latest_format_of_those_that_a_server_has_is_chosen(routes: list[str], dialect: Dialect | None) -> None:
    assert choose(routes) == dialect
    assert choose(routes[::-1]) == dialect


# OpenAI's format, at two routes


def test_a_payload_has_the_conversation_and_the_options_that_are_set() -> None:
    payload: dict[str, object] = {
        "model": "one/model",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "And?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert CHAT_COMPLETIONS.payload("one/model", MESSAGES, UNSET) == payload
    options = {"temperature": 0.0, "top_p": 0.9, "max_tokens": 100, "seed": 0, "reasoning_effort": "low"}
    assert CHAT_COMPLETIONS.payload("one/model", MESSAGES, EVERY_OPTION) == payload | options
    assert CHAT_COMPLETIONS.unsupported(EVERY_OPTION) == []


@pytest.mark.parametrize("dialect", [CHAT_COMPLETIONS, OPENAI_COMPATIBLE, LEGACY], ids=lambda dialect: dialect.route)
def test_a_payload_without_streaming_differs_in_nothing_else(dialect: Dialect) -> None:
    streamed = dialect.payload("one/model", MESSAGES, EVERY_OPTION)
    del streamed["stream"]
    streamed.pop("stream_options", None)
    whole = dialect.payload("one/model", MESSAGES, replace(EVERY_OPTION, streaming=False))
    assert whole == streamed | {"stream": False}


@pytest.mark.parametrize("text", ["What is it?", " "])
@pytest.mark.parametrize(
    ("dialect", "parts"),
    [
        (CHAT_COMPLETIONS, [{"type": "image_url", "image_url": {"url": image.data_url}} for image in IMAGES]),
        (LEGACY, [{"type": "image", "image": {"data": image.data}} for image in IMAGES]),
    ],
)
def test_images_follow_the_text_of_their_message_unless_it_is_blank(
    text: str, dialect: Dialect, parts: list[object]
) -> None:
    (message,) = dialect.payload("m", [Message("user", text, IMAGES)], UNSET)["messages"]  # type: ignore[misc]
    assert message["content"] == [*([{"type": "text", "text": text}] if text.strip() else []), *parts]


@pytest.mark.parametrize(
    ("chunk", "events"),
    [
        (choice({"role": "assistant", "content": " there"}), [Text(" there")]),
        (choice({"content": None, "refusal": "I cannot."}), [Text("I cannot.")]),
        (choice({"reasoning_content": "Let me see", "content": None}), [Reasoning("Let me see")]),
        (choice({"reasoning": "Let me see"}), [Reasoning("Let me see")]),
        (choice({"content": "Yes.", "reasoning": "Hm"}), [Reasoning("Hm"), Text("Yes.")]),
        (choice({}, finish_reason="length"), [Finished("length")]),
        (choice({"content": "!"}, finish_reason="stop"), [Text("!"), Finished("stop")]),
        ({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}, [Usage(7, 3)]),
        ({"choices": [], "usage": None}, []),
        (choice({"role": "assistant", "content": ""}), []),
        (WHOLE, [Reasoning("Hm."), Text("Hello."), Finished("stop"), Usage(7, 3)]),
        (
            choice({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}),
            [Finished("tool_calls")],
        ),
    ],
)
def test_a_chunk_becomes_events(chunk: dict[str, Any], events: list[Event]) -> None:
    assert list(CHAT_COMPLETIONS.events(chunk)) == events


# The format of llama-stack up to 0.2


def test_a_legacy_payload_has_the_conversation() -> None:
    assert LEGACY.payload("one/model", MESSAGES, UNSET) == {
        "model_id": "one/model",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Hello.", "stop_reason": "end_of_turn"},
            {"role": "user", "content": "And?"},
        ],
        "stream": True,
    }


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        (SamplingOptions(max_tokens=100), {"max_tokens": 100}),
        (SamplingOptions(temperature=0.5), {"strategy": {"type": "top_p", "temperature": 0.5, "top_p": 1.0}}),
        (SamplingOptions(top_p=0.9), {"strategy": {"type": "top_p", "temperature": 1.0, "top_p": 0.9}}),
        (EVERY_OPTION, {"strategy": {"type": "greedy"}, "max_tokens": 100}),
    ],
)
def test_a_legacy_payload_has_a_sampling_strategy(options: SamplingOptions, sampling: object) -> None:
    payload = LEGACY.payload("one/model", MESSAGES, options)
    assert payload == LEGACY.payload("one/model", MESSAGES, UNSET) | {"sampling_params": sampling}


def test_the_options_that_the_legacy_route_lacks_are_named() -> None:
    assert LEGACY.unsupported(EVERY_OPTION) == ["Seed", "Reasoning effort"]
    assert LEGACY.unsupported(SamplingOptions(temperature=0.5)) == []


def legacy_chunk(text: object, metrics: object = None, **more: object) -> dict[str, object]:
    return {"event": {"delta": {"type": "text", "text": text}, "stop_reason": None, **more}, "metrics": metrics}


def metrics(prompt_tokens: object, completion_tokens: object) -> list[dict[str, object]]:
    counts = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": None}
    return [{"metric": name, "value": value, "unit": None} for name, value in counts.items()]


LEGACY_WHOLE = {
    "metrics": metrics(13, 3),
    "completion_message": {
        "role": "assistant",
        "content": "Hello.",
        "stop_reason": "out_of_tokens",
        "tool_calls": [],
    },
    "logprobs": None,
}


@pytest.mark.parametrize(
    ("chunk", "events"),
    [
        (legacy_chunk(" there"), [Text(" there")]),
        (legacy_chunk("", stop_reason="end_of_turn"), [Finished("stop")]),
        (legacy_chunk("", stop_reason="out_of_tokens"), [Finished("length")]),
        (legacy_chunk("", stop_reason="something_new"), [Finished("something_new")]),
        (legacy_chunk("", metrics(13, 3), stop_reason="end_of_turn"), [Finished("stop"), Usage(13, 3)]),
        (legacy_chunk(".", metrics(0, 0)), [Text(".")]),
        (LEGACY_WHOLE, [Text("Hello."), Finished("length"), Usage(13, 3)]),
    ],
)
def test_a_legacy_chunk_becomes_events(chunk: dict[str, Any], events: list[Event]) -> None:
    assert list(LEGACY.events(chunk)) == events


def test_a_recorded_reply_is_read_to_its_end() -> None:
    lines = (RECORDED / "reply.sse").read_text(encoding="utf-8").splitlines()
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    events = [event for chunk in chunks for event in LEGACY.events(chunk)]
    assert events == [Text("tok0 "), Text("tok1 "), Text("tok2 "), Finished("stop"), Usage(13, 3)]


# Chunks of any shape

json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def objects(*keys: str, values: Any = json_values) -> Any:
    """Objects with some of these keys, or anything else."""
    return st.dictionaries(st.sampled_from(keys), values) | json_values


CHUNKS = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(objects("delta", "finish_reason", values=objects("content", "reasoning"))) | json_values,
        "usage": objects("prompt_tokens", "completion_tokens"),
        "event": objects("delta", "stop_reason", values=objects("text")),
        "metrics": st.lists(objects("metric", "value"), max_size=3) | json_values,
    },
)


@pytest.mark.parametrize("dialect", [CHAT_COMPLETIONS, LEGACY], ids=lambda dialect: dialect.route)
@given(CHUNKS)
def test_a_chunk_of_any_shape_gives_only_events_that_can_be_shown(dialect: Dialect, chunk: dict[str, Any]) -> None:
    for event in dialect.events(chunk):
        match event:
            case Text(text) | Reasoning(text):
                assert type(text) is str and text
            case Usage(prompt_tokens, completion_tokens):
                assert isinstance(prompt_tokens, int) and isinstance(completion_tokens, int)
            case Finished(finish_reason):
                assert type(finish_reason) is str
