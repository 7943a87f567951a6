"""The wire format: what is sent, and what is read from a chunk."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.dialects import CHAT_COMPLETIONS
from llama_ui.events import Done, Event, Reasoning, Text, Usage
from llama_ui.messages import Message, Options

MESSAGES = [
    Message("system", "Be brief."),
    Message("user", "Hi."),
    Message("assistant", "Hello."),
    Message("user", "And?"),
]


def events(chunk: object) -> list[Event]:
    return list(CHAT_COMPLETIONS.events(chunk))  # type: ignore[arg-type]


def choice(delta: object, **more: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None, **more}]}


def test_the_route_is_the_one_of_today() -> None:
    assert CHAT_COMPLETIONS.route == "/v1/chat/completions"


def test_a_payload_has_the_conversation_and_nothing_that_was_left_to_the_server() -> None:
    assert CHAT_COMPLETIONS.payload("one/model", MESSAGES, Options()) == {
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


def test_a_payload_has_every_option_that_was_set() -> None:
    chosen = Options(temperature=0.5, top_p=0.9, max_tokens=100, seed=7)
    plain = CHAT_COMPLETIONS.payload("one/model", MESSAGES, Options())
    assert CHAT_COMPLETIONS.payload("one/model", MESSAGES, chosen) == {
        **plain,
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 100,
        "seed": 7,
    }


def test_an_option_of_zero_is_sent() -> None:
    payload = CHAT_COMPLETIONS.payload("one/model", MESSAGES, Options(temperature=0.0, seed=0))
    assert payload["temperature"] == 0.0
    assert payload["seed"] == 0
    assert "top_p" not in payload


def test_content_becomes_text() -> None:
    assert events(choice({"role": "assistant", "content": " there"})) == [Text(" there")]


def test_white_space_alone_is_text() -> None:
    assert events(choice({"content": "\n"})) == [Text("\n")]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_comes_under_either_key(key: str) -> None:
    assert events(choice({key: "Let me see", "content": None})) == [Reasoning("Let me see")]


def test_reasoning_under_both_keys_is_told_once() -> None:
    assert events(choice({"reasoning_content": "Hm", "reasoning": "Hm"})) == [Reasoning("Hm")]


def test_reasoning_comes_before_the_text_of_the_same_chunk() -> None:
    assert events(choice({"content": "Yes.", "reasoning": "Hm"})) == [Reasoning("Hm"), Text("Yes.")]


def test_the_end_is_told_with_its_reason() -> None:
    assert events(choice({}, finish_reason="length")) == [Done("length")]
    assert events(choice({"content": "!"}, finish_reason="stop")) == [Text("!"), Done("stop")]


def test_usage_comes_in_a_chunk_without_choices() -> None:
    chunk = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}
    assert events(chunk) == [Usage(7, 3)]


def test_usage_may_come_with_the_last_text() -> None:
    chunk = {**choice({"content": "."}), "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    assert events(chunk) == [Text("."), Usage(7, 3)]


def test_a_count_that_the_server_does_not_give_is_zero() -> None:
    assert events({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": None}}) == [Usage(7, 0)]


@pytest.mark.parametrize(
    "chunk",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [], "usage": None},
        {"choices": [{}]},
        choice(None),
        choice({}),
        choice({"role": "assistant", "content": ""}),
        choice({"content": None, "reasoning_content": None, "reasoning": None, "tool_calls": None}),
        choice({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}),
    ],
)
def test_a_chunk_that_says_nothing_is_passed_over(chunk: object) -> None:
    assert events(chunk) == []


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": 5},
        {"choices": "text"},
        {"choices": {"a": 1}},
        {"choices": [None]},
        {"choices": ["text"]},
        {"choices": [[]]},
        choice("text"),
        choice(["text"]),
        choice({"content": 5}),
        choice({"content": {"text": "x"}}),
        choice({"reasoning": {"text": "x"}}),
        choice({}, finish_reason=5),
        {"choices": [], "usage": 5},
        {"choices": [], "usage": "many"},
        {"choices": [], "usage": {"prompt_tokens": "many", "completion_tokens": []}},
    ],
)
def test_a_chunk_of_a_strange_shape_gives_only_events_that_can_be_shown(chunk: object) -> None:
    assert_showable(events(chunk))


def assert_showable(found: list[Event]) -> None:
    for event in found:
        match event:
            case Text(text) | Reasoning(text):
                assert type(text) is str
                assert text
            case Usage(prompt_tokens, completion_tokens):
                assert isinstance(prompt_tokens, int)
                assert isinstance(completion_tokens, int)
            case Done(finish_reason):
                assert type(finish_reason) is str


json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
deltas = st.dictionaries(
    st.sampled_from(["role", "content", "reasoning", "reasoning_content", "tool_calls"]), json_values
)
choices = st.builds(dict, delta=deltas | json_values, finish_reason=st.none() | st.text() | json_values)
usages = st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens"]), st.integers() | json_values)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "choices": st.lists(choices | json_values, max_size=2) | json_values,
            "usage": usages | json_values,
            "object": json_values,
        },
    )
)
def test_any_chunk_gives_only_events_that_can_be_shown(chunk: object) -> None:
    assert_showable(events(chunk))


@given(st.lists(st.text(min_size=1)))
def test_the_texts_of_all_chunks_make_up_the_reply(parts: list[str]) -> None:
    assert [event for part in parts for event in events(choice({"content": part}))] == [Text(part) for part in parts]
