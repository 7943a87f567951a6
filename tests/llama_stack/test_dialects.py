"""The wire formats: which one a server speaks, what is sent, and what is read from a chunk."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core.events import Event, Finished, Reasoning, Text, Usage
from llama_ui.core.messages import Image, Message, SamplingOptions
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, DIALECTS, LEGACY, OPENAI_COMPATIBLE, Dialect, choose
from tests.support.app_process import ROOT

MESSAGES = [
    Message("system", "Be brief."),
    Message("user", "Hi."),
    Message("assistant", "Hello."),
    Message("user", "And?"),
]


LOOK = Message("user", "What is it?", (Image("image/png", "aWNvbg=="), Image("image/jpeg", "cGhvdG8=")))
RECORDED = ROOT / "tests" / "support" / "wire" / "0.1.9"


OPENAI = pytest.mark.parametrize("dialect", [CHAT_COMPLETIONS, OPENAI_COMPATIBLE], ids=["today's", "0.2's"])
EACH = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.route)


def events(dialect: Dialect, chunk: object) -> list[Event]:
    return list(dialect.events(chunk))  # type: ignore[arg-type]


def choice(delta: object, **more: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None, **more}]}


# Which one a server speaks


@pytest.mark.parametrize(
    ("routes", "dialect"),
    [
        (["/v1/models", "/v1/chat/completions", "/v1/responses"], CHAT_COMPLETIONS),
        (["/v1/openai/v1/chat/completions", "/v1/chat/completions"], CHAT_COMPLETIONS),
        (["/v1/inference/chat-completion", "/v1/openai/v1/chat/completions"], OPENAI_COMPATIBLE),
        (["/v1/inference/completion", "/v1/inference/chat-completion"], LEGACY),
        (["/v1/inference/chat-completion", "/v1/chat/completions"], CHAT_COMPLETIONS),
        (["/v1/models", "/v1/chat/completions/{id}", "/v1/completions"], None),
        ([], None),
    ],
)
def test_of_the_routes_that_a_server_has_the_latest_is_chosen(routes: list[str], dialect: Dialect | None) -> None:
    assert choose(routes) == dialect
    assert choose(routes[::-1]) == dialect


def test_the_recorded_server_is_asked_at_the_legacy_route() -> None:
    routes = json.loads((RECORDED / "routes.json").read_text(encoding="utf-8"))["data"]
    assert choose([route["route"] for route in routes]) == LEGACY


# OpenAI's format, at two routes


@OPENAI
def test_a_payload_has_the_conversation_and_nothing_that_was_left_to_the_server(dialect: Dialect) -> None:
    assert dialect.payload("one/model", MESSAGES, SamplingOptions()) == {
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


@OPENAI
def test_a_payload_has_every_option_that_was_set(dialect: Dialect) -> None:
    chosen = SamplingOptions(temperature=0.5, top_p=0.9, max_tokens=100, seed=7)
    plain = dialect.payload("one/model", MESSAGES, SamplingOptions())
    assert dialect.payload("one/model", MESSAGES, chosen) == {
        **plain,
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 100,
        "seed": 7,
    }


@OPENAI
def test_an_option_of_zero_is_sent(dialect: Dialect) -> None:
    payload = dialect.payload("one/model", MESSAGES, SamplingOptions(temperature=0.0, seed=0))
    assert payload["temperature"] == 0.0
    assert payload["seed"] == 0
    assert "top_p" not in payload


@OPENAI
def test_images_follow_the_text_of_their_message(dialect: Dialect) -> None:
    payload = dialect.payload("one/model", [MESSAGES[0], LOOK], SamplingOptions())
    assert payload["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aWNvbg=="}},
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,cGhvdG8="}},
            ],
        },
    ]


@OPENAI
def test_a_picture_alone_is_sent_without_a_blank_text(dialect: Dialect) -> None:
    (message,) = dialect.payload("one/model", [Message("user", "", LOOK.images[:1])], SamplingOptions())["messages"]  # type: ignore[misc]
    assert message["content"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aWNvbg=="}}]


@OPENAI
def test_a_reasoning_effort_is_sent_when_it_is_set(dialect: Dialect) -> None:
    assert dialect.payload("one/model", MESSAGES, SamplingOptions(reasoning_effort="low"))["reasoning_effort"] == "low"
    assert "reasoning_effort" not in dialect.payload("one/model", MESSAGES, SamplingOptions(seed=1))


@OPENAI
def test_nothing_is_left_unsent(dialect: Dialect) -> None:
    everything = SamplingOptions(temperature=0.5, top_p=0.9, max_tokens=100, seed=7, reasoning_effort="high")
    assert dialect.unsent(everything) == []


@OPENAI
def test_a_refusal_is_the_answer(dialect: Dialect) -> None:
    assert events(dialect, choice({"content": None, "refusal": "I cannot."})) == [Text("I cannot.")]


@OPENAI
def test_content_becomes_text(dialect: Dialect) -> None:
    assert events(dialect, choice({"role": "assistant", "content": " there"})) == [Text(" there")]


@OPENAI
def test_white_space_alone_is_text(dialect: Dialect) -> None:
    assert events(dialect, choice({"content": "\n"})) == [Text("\n")]


@OPENAI
@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_comes_under_either_key(dialect: Dialect, key: str) -> None:
    assert events(dialect, choice({key: "Let me see", "content": None})) == [Reasoning("Let me see")]


@OPENAI
def test_reasoning_under_both_keys_is_told_once(dialect: Dialect) -> None:
    assert events(dialect, choice({"reasoning_content": "Hm", "reasoning": "Hm"})) == [Reasoning("Hm")]


@OPENAI
def test_reasoning_comes_before_the_text_of_the_same_chunk(dialect: Dialect) -> None:
    assert events(dialect, choice({"content": "Yes.", "reasoning": "Hm"})) == [Reasoning("Hm"), Text("Yes.")]


@OPENAI
def test_the_end_is_told_with_its_reason(dialect: Dialect) -> None:
    assert events(dialect, choice({}, finish_reason="length")) == [Finished("length")]
    assert events(dialect, choice({"content": "!"}, finish_reason="stop")) == [Text("!"), Finished("stop")]


@OPENAI
def test_usage_comes_in_a_chunk_without_choices(dialect: Dialect) -> None:
    chunk = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}
    assert events(dialect, chunk) == [Usage(7, 3)]


@OPENAI
def test_usage_may_come_with_the_last_text(dialect: Dialect) -> None:
    chunk = {**choice({"content": "."}), "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    assert events(dialect, chunk) == [Text("."), Usage(7, 3)]


@OPENAI
def test_a_count_that_the_server_does_not_give_is_zero(dialect: Dialect) -> None:
    assert events(dialect, {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": None}}) == [Usage(7, 0)]


@OPENAI
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
def test_a_chunk_that_says_nothing_is_passed_over(dialect: Dialect, chunk: object) -> None:
    assert events(dialect, chunk) == []


# The format of llama-stack up to 0.2


def legacy(event: object, metrics: object = None) -> list[Event]:
    return events(LEGACY, {"event": event, "metrics": metrics})


def progress(text: object, **more: object) -> dict[str, object]:
    return {"event_type": "progress", "delta": {"type": "text", "text": text}, "stop_reason": None, **more}


def metrics(prompt_tokens: object, completion_tokens: object) -> list[dict[str, object]]:
    counts = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": None}
    return [{"metric": name, "value": value, "unit": None} for name, value in counts.items()]


def test_a_legacy_payload_has_the_conversation_and_nothing_that_was_left_to_the_server() -> None:
    assert LEGACY.payload("one/model", MESSAGES, SamplingOptions()) == {
        "model_id": "one/model",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Hello.", "stop_reason": "end_of_turn"},
            {"role": "user", "content": "And?"},
        ],
        "stream": True,
    }


def test_images_follow_the_text_of_their_message_in_a_legacy_payload() -> None:
    assert LEGACY.payload("one/model", [LOOK], SamplingOptions())["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image", "image": {"data": "aWNvbg=="}},
                {"type": "image", "image": {"data": "cGhvdG8="}},
            ],
        }
    ]


def test_a_picture_alone_is_sent_without_a_blank_text_in_a_legacy_payload() -> None:
    (message,) = LEGACY.payload("one/model", [Message("user", " ", LOOK.images[:1])], SamplingOptions())["messages"]  # type: ignore[misc]
    assert message == {"role": "user", "content": [{"type": "image", "image": {"data": "aWNvbg=="}}]}


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        (SamplingOptions(max_tokens=100), {"max_tokens": 100}),
        (SamplingOptions(temperature=0.5), {"strategy": {"type": "top_p", "temperature": 0.5, "top_p": 1.0}}),
        (SamplingOptions(top_p=0.9), {"strategy": {"type": "top_p", "temperature": 1.0, "top_p": 0.9}}),
        (
            SamplingOptions(temperature=0.5, top_p=0.9),
            {"strategy": {"type": "top_p", "temperature": 0.5, "top_p": 0.9}},
        ),
        (SamplingOptions(temperature=0.0), {"strategy": {"type": "greedy"}}),
        (SamplingOptions(temperature=0.0, top_p=0.9, max_tokens=5), {"strategy": {"type": "greedy"}, "max_tokens": 5}),
    ],
)
def test_sampling_is_sent_as_a_strategy_in_a_legacy_payload(options: SamplingOptions, sampling: object) -> None:
    assert LEGACY.payload("one/model", MESSAGES, options)["sampling_params"] == sampling


def test_a_seed_has_no_place_in_a_legacy_payload_and_is_told_as_unsent() -> None:
    plain = LEGACY.payload("one/model", MESSAGES, SamplingOptions())
    assert LEGACY.payload("one/model", MESSAGES, SamplingOptions(seed=0)) == plain
    assert LEGACY.unsent(SamplingOptions(temperature=0.5, seed=0)) == ["Seed"]
    assert LEGACY.unsent(SamplingOptions(temperature=0.5)) == []


def test_legacy_text_becomes_text() -> None:
    assert legacy(progress(" there")) == [Text(" there")]
    assert legacy(progress("\n")) == [Text("\n")]


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_of_turn", "stop"),
        ("end_of_message", "stop"),
        ("out_of_tokens", "length"),
        ("something_new", "something_new"),
    ],
)
def test_a_legacy_stop_reason_is_told_in_todays_words(stop_reason: str, finish_reason: str) -> None:
    assert legacy(progress("", stop_reason=stop_reason)) == [Finished(finish_reason)]
    assert legacy(progress("!", stop_reason=stop_reason)) == [Text("!"), Finished(finish_reason)]


def test_legacy_metrics_become_usage() -> None:
    assert legacy(progress("", stop_reason="end_of_turn"), metrics(13, 3)) == [Finished("stop"), Usage(13, 3)]


@pytest.mark.parametrize("uncounted", [None, [], metrics(0, 0), metrics(None, None), [None], "many"])
def test_legacy_metrics_that_count_nothing_are_no_usage(uncounted: object) -> None:
    assert legacy(progress("."), uncounted) == [Text(".")]


@pytest.mark.parametrize("event", [None, {}, {"delta": None}, progress(""), progress(None), {"delta": "x"}, [], "x"])
def test_a_legacy_chunk_that_says_nothing_is_passed_over(event: object) -> None:
    assert legacy(event) == []


@pytest.mark.parametrize(("name", "reason"), [("reply", "stop"), ("length", "length")])
def test_a_recorded_reply_is_read_to_its_end(name: str, reason: str) -> None:
    lines = (RECORDED / f"{name}.sse").read_text(encoding="utf-8").splitlines()
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    found = [event for chunk in chunks for event in events(LEGACY, chunk)]
    assert found == [Text("tok0 "), Text("tok1 "), Text("tok2 "), Finished(reason), Usage(13, 3)]


# Chunks of any shape


@EACH
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
        {"event": 5},
        {"event": {"delta": ["text"], "stop_reason": 5}},
        {"event": {"delta": {"type": "tool_call", "tool_call": "f()"}}},
        {"event": {"delta": {"text": ["x"]}}, "metrics": {"metric": "prompt_tokens"}},
        {"metrics": [[], {"metric": [], "value": 5}, {"metric": "prompt_tokens", "value": "many"}]},
    ],
)
def test_a_chunk_of_a_strange_shape_gives_only_events_that_can_be_shown(dialect: Dialect, chunk: object) -> None:
    assert_showable(events(dialect, chunk))


def assert_showable(found: list[Event]) -> None:
    for event in found:
        match event:
            case Text(text) | Reasoning(text):
                assert type(text) is str
                assert text
            case Usage(prompt_tokens, completion_tokens):
                assert isinstance(prompt_tokens, int)
                assert isinstance(completion_tokens, int)
            case Finished(finish_reason):
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
legacy_events = st.builds(
    dict,
    delta=st.builds(dict, text=json_values) | json_values,
    stop_reason=st.sampled_from(["end_of_turn"]) | json_values,
)
legacy_metrics = st.builds(
    dict, metric=st.sampled_from(["prompt_tokens", "completion_tokens"]) | json_values, value=json_values
)
usages = st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens"]), st.integers() | json_values)


@EACH
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "choices": st.lists(choices | json_values, max_size=2) | json_values,
            "usage": usages | json_values,
            "object": json_values,
            "event": legacy_events | json_values,
            "metrics": st.lists(legacy_metrics | json_values, max_size=3) | json_values,
        },
    )
)
def test_any_chunk_gives_only_events_that_can_be_shown(dialect: Dialect, chunk: object) -> None:
    assert_showable(events(dialect, chunk))


@OPENAI
@given(st.lists(st.text(min_size=1)))
def test_the_texts_of_all_chunks_make_up_the_reply(dialect: Dialect, parts: list[str]) -> None:
    assert [event for part in parts for event in events(dialect, choice({"content": part}))] == [
        Text(part) for part in parts
    ]


@pytest.mark.parametrize("half", ["\ud83d", "\ude00"])
def test_half_an_emoji_becomes_a_sign_that_a_page_can_show(half: str) -> None:
    assert events(CHAT_COMPLETIONS, choice({"content": f"so {half}"})) == [Text("so \ufffd")]
