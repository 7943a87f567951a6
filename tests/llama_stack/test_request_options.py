"""The options under "Request": what is sent for each on every route, and what is read from the replies."""

import json
import math
from typing import Any

import httpx
import pytest

from llama_ui.core.errors import ServerError
from llama_ui.core.events import Event, Finished, Notice, Received, Sample, Text, Token, Tokens
from llama_ui.core.messages import Message, SamplingOptions, parse_sampling_options
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, LEGACY, OPENAI_COMPATIBLE, Dialect
from tests.llama_stack.mock_server import MESSAGES, MockServer, sse, streamed

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TEXTS = {
    "response_format": json.dumps(SCHEMA),
    "top_logprobs": "5",
    "n": "3",
    "stop": "END\nSTOP",
    "frequency_penalty": "-0.5",
    "presence_penalty": "1",
    "thinking": "off",
    "extra_body": '{"top_k": 40, "chat_template_kwargs": {"date": "today"}}',
}
CHAT: dict[str, dict[str, object]] = {
    "response_format": {"response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA}}},
    "top_logprobs": {"logprobs": True, "top_logprobs": 5},
    "n": {"n": 3},
    "stop": {"stop": ["END", "STOP"]},
    "frequency_penalty": {"frequency_penalty": -0.5},
    "presence_penalty": {"presence_penalty": 1.0},
    "thinking": {"chat_template_kwargs": {"enable_thinking": False}},
    "extra_body": {"top_k": 40, "chat_template_kwargs": {"date": "today"}},
}
NOTHING: dict[str, object] = {}
# What each option adds to a request.
SENT: dict[str, dict[str, dict[str, object]]] = {
    CHAT_COMPLETIONS.route: CHAT,
    OPENAI_COMPATIBLE.route: CHAT | {"thinking": NOTHING, "extra_body": NOTHING},
    LEGACY.route: dict.fromkeys(CHAT, NOTHING)
    | {
        "response_format": {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
        "top_logprobs": {"logprobs": {"top_k": 5}},
        "stop": {"sampling_params": {"stop": ["END", "STOP"]}},
    },
}
DIALECTS = pytest.mark.parametrize(
    "dialect", [CHAT_COMPLETIONS, OPENAI_COMPATIBLE, LEGACY], ids=lambda dialect: dialect.route
)
TOKEN = {"token": " is", "bytes": [32], "logprob": -0.5, "top_logprobs": []}
TOP = [{"token": text, "logprob": logprob} for text, logprob in ((" is", -0.5), (" was", -2.0))]


@DIALECTS
@pytest.mark.parametrize("name", TEXTS)
def test_an_option_adds_exactly_this_to_a_request(dialect: Dialect, name: str) -> None:
    unset = dialect.payload("m", MESSAGES, SamplingOptions())
    options = parse_sampling_options(**{name: TEXTS[name]})
    assert dialect.payload("m", MESSAGES, options) == unset | SENT[dialect.route][name]
    said = ["response_format", "n", *(name for name, sent in SENT[dialect.route].items() if sent)]
    assert bool(dialect.unsupported(options)) == (name not in said)


@DIALECTS
def test_all_options_go_together(dialect: Dialect) -> None:
    texts = TEXTS | {"temperature": "0.5", "max_tokens": "9", "seed": "7"}
    added: dict[str, Any] = {name: value for sent in SENT[dialect.route].values() for name, value in sent.items()}
    if dialect == CHAT_COMPLETIONS:
        added["chat_template_kwargs"] = {"enable_thinking": False, "date": "today"}
    if dialect == LEGACY:
        strategy = {"type": "top_p", "temperature": 0.5, "top_p": 1.0}
        added["sampling_params"] |= {"max_tokens": 9, "strategy": strategy}
    else:
        added |= {"temperature": 0.5, "max_tokens": 9, "seed": 7}
    payload = dialect.payload("m", MESSAGES, parse_sampling_options(**texts))
    assert payload == dialect.payload("m", MESSAGES, SamplingOptions()) | added


def test_a_json_object_is_a_schema_on_the_legacy_route() -> None:
    options = parse_sampling_options(response_format='{"type": "json_object"}')
    assert CHAT_COMPLETIONS.payload("m", MESSAGES, options)["response_format"] == {"type": "json_object"}
    form = {"type": "json_schema", "json_schema": {"type": "object"}}
    assert LEGACY.payload("m", MESSAGES, options)["response_format"] == form


def test_an_answer_is_continued_where_the_last_message_is_its_beginning() -> None:
    messages = [*MESSAGES, Message("assistant", "The capital is")]
    payload = CHAT_COMPLETIONS.payload("m", messages, SamplingOptions())
    assert payload["messages"][-1] == {"role": "assistant", "content": "The capital is"}  # type: ignore[index]
    assert (payload["continue_final_message"], payload["add_generation_prompt"]) == (True, False)


# What is read


def choice(**fields: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "finish_reason": None, **fields}]}


@pytest.mark.parametrize(
    ("chunk", "events"),
    [
        (
            choice(delta={"content": " is"}, logprobs={"content": [TOKEN | {"top_logprobs": TOP}], "refusal": None}),
            [Text(" is"), Tokens((Token(" is", -0.5, (Token(" is", -0.5), Token(" was", -2.0))),))],
        ),
        (
            choice(message={"content": "a b"}, logprobs={"content": [TOKEN, TOKEN | {"logprob": -1e5}]}),
            [Text("a b"), Tokens((Token(" is", -0.5), Token(" is", -1e5)))],
        ),
        (choice(delta={"content": "x"}, logprobs={"content": [TOKEN | {"logprob": 1e-7}]}),
         [Text("x"), Tokens((Token(" is", 1e-7),))]),
        (choice(delta={"content": "x"}, logprobs=None), [Text("x")]),
        (choice(delta={"content": "x"}, logprobs={"content": None}), [Text("x")]),
        (choice(delta={"content": "x"}, logprobs={"content": [{}, 5, TOKEN | {"logprob": None}]}), [Text("x")]),
        (choice(delta={"content": "x"}, logprobs={"content": [TOKEN | {"logprob": math.nan}]}), [Text("x")]),
        (choice(delta={"content": ""}, logprobs={"content": [TOKEN | {"token": ""}]}), []),
        ({"choices": [{"index": 2, "delta": {"content": "x"}, "logprobs": {"content": [TOKEN]}}]},
         [Sample(2, Text("x"))]),
        ({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}, [Sample(1, Finished("stop"))]),
    ],
)  # fmt: skip
def test_a_chunk_has_tokens_and_samples(chunk: dict[str, Any], events: list[Event]) -> None:
    assert list(CHAT_COMPLETIONS.events(chunk)) == events


def test_the_probabilities_of_reasoning_are_left_out() -> None:
    reasoning = choice(delta={"reasoning_content": " is", "content": None}, logprobs={"content": [TOKEN]})
    assert not any(isinstance(event, Tokens) for event in CHAT_COMPLETIONS.events(reasoning))


@pytest.mark.parametrize(
    ("text", "by_token", "tokens"),
    [
        (" is", [{" is": -0.5, " was": -2.0}], (Token(" is", -0.5, (Token(" is", -0.5), Token(" was", -2.0))),)),
        ("ab", [{"a": -1.0, "ab": -2.0}], (Token("ab", -2.0, (Token("a", -1.0), Token("ab", -2.0))),)),
        (
            "ab",
            [{"a": -1.0}, {"b": -2.0}],
            (Token("a", -1.0, (Token("a", -1.0),)), Token("b", -2.0, (Token("b", -2.0),))),
        ),
        ("ab", [{"x": -1.0}], ()),
        ("ab", [{}, 5, None], ()),
    ],
)
def test_the_legacy_route_has_its_own_form_of_probabilities(text: str, by_token: list[Any], tokens: object) -> None:
    logprobs = [{"logprobs_by_token": item} if isinstance(item, dict) else item for item in by_token]
    chunk = {"event": {"delta": {"type": "text", "text": text}, "logprobs": logprobs, "stop_reason": None}}
    found = [event.tokens for event in LEGACY.events(chunk) if isinstance(event, Tokens)]
    assert found == ([tokens] if tokens else [])
    whole = {"completion_message": {"content": text, "stop_reason": "end_of_turn"}, "logprobs": logprobs}
    assert [event.tokens for event in LEGACY.events(whole) if isinstance(event, Tokens)] == found


# In a conversation with a server


def chunks(*texts: str, index: int = 0) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"choices": [{"index": index, "delta": {"content": text}}]} for text in texts]
    return [*deltas, {"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}]


async def events_of(server: MockServer, options: SamplingOptions) -> list[Event]:
    return [event async for event in server.client.stream("one/model", MESSAGES, options)]


async def test_each_of_several_replies_has_its_own_end() -> None:
    server = MockServer(lambda _: streamed(sse(*chunks("a", "\ud83e"), *chunks("x", "y", index=1))))
    events = await server.reply(SamplingOptions(n=2))
    assert [event for event in events if isinstance(event, Sample)] == [
        Sample(1, Text("x")),
        Sample(1, Text("y")),
        Sample(1, Finished("stop")),
    ]


@pytest.mark.parametrize("words", [
    {"message": "Invalid value", "param": "n"},
    {"message": "'n' : number must be at most 1"},
    {"message": "Field 'n': Value must be between 1 <= value <= 2, but got 3"},
    {"message": "no", "detail": [{"loc": ["body", "n"], "msg": "must be 1"}]},
])  # fmt: skip
async def test_a_server_that_refuses_several_replies_is_not_asked_for_them_again(words: dict[str, object]) -> None:
    body = words if "detail" in words else {"error": words}
    server = MockServer(lambda _: httpx.Response(400, json=body))
    for _ in range(2):
        with pytest.raises(ServerError) as refusal:
            await events_of(server, SamplingOptions(n=2))
        assert getattr(refusal.value, "field", "") == "n"
    assert len(server.posts) == 1


async def test_a_server_that_takes_no_notice_of_several_is_not_asked_for_them_again() -> None:
    server = MockServer(lambda _: streamed(sse(*chunks("a"))))
    assert Text("a") in await server.reply(SamplingOptions(n=2))
    with pytest.raises(ServerError):
        await events_of(server, SamplingOptions(n=2))
    assert len(server.posts) == 1


async def test_the_legacy_route_is_known_to_take_one() -> None:
    server = MockServer(lambda _: streamed(b""), routes=[LEGACY.route])
    with pytest.raises(ServerError):
        await events_of(server, SamplingOptions(n=2))
    assert server.posts == []


async def test_an_engine_without_templates_is_asked_by_reasoning_effort() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "chat_template_kwargs" in json.loads(request.content):
            return httpx.Response(400, json={"error": {"message": "Unknown parameter: 'chat_template_kwargs'."}})
        return streamed(sse(*chunks("a")))

    server = MockServer(answer)
    for thinking, effort in ((False, "none"), (True, "medium")):
        assert Text("a") in await server.reply(SamplingOptions(thinking=thinking))
        assert json.loads(server.posts[-1].content)["reasoning_effort"] == effort
    assert len(server.posts) == 3  # it remembers
    await server.reply(SamplingOptions(thinking=False, reasoning_effort="low"))
    assert json.loads(server.posts[-1].content)["reasoning_effort"] == "low"
    with pytest.raises(ServerError):
        await events_of(server, SamplingOptions(extra_body={"chat_template_kwargs": {}}))


async def test_an_engine_that_knows_no_field_for_it_continues_without() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        fields = json.loads(request.content)
        known = "add_generation_prompt" not in fields and "continue_final_message" not in fields
        name = "add_generation_prompt" if "add_generation_prompt" in fields else "continue_final_message"
        error = {"error": {"message": f"Unrecognized request argument supplied: {name}"}}
        return streamed(sse(*chunks(" x"))) if known else httpx.Response(400, json=error)

    server = MockServer(answer)
    messages = [*MESSAGES, Message("assistant", "The")]
    assert Text(" x") in [event async for event in server.client.stream("one/model", messages, SamplingOptions())]


@pytest.mark.parametrize(("dialect", "said"), [(OPENAI_COMPATIBLE, "Thinking"), (LEGACY, "Seed and Thinking")])
async def test_what_a_route_has_no_place_for_is_said(dialect: Dialect, said: str) -> None:
    server = MockServer(lambda _: streamed(b""), routes=[dialect.route])
    options = SamplingOptions(thinking=False, seed=7 if dialect == LEGACY else None)
    notices = [event.sentence for event in await events_of(server, options) if isinstance(event, Notice)]
    assert notices == [f"{said} cannot be sent to this server: its route `{dialect.route}` has none."]


# What came back


async def test_what_came_back_has_no_secrets_and_a_limit() -> None:
    body = sse(*chunks("the-secret-key", *["x" * 500] * 40))
    headers = {"content-type": "text/event-stream", "X-Request-ID": "r7", "set-cookie": "a=b", "x-api-key": "k"}
    headers |= {"x-echo": "the-secret-key", "x-ratelimit-remaining-tokens": "5"}
    server = MockServer(lambda _: httpx.Response(200, headers=headers, content=body), key="the-secret-key")
    (received,) = [event for event in await events_of(server, SamplingOptions()) if isinstance(event, Received)]
    shown = dict(received.headers)
    assert (shown["x-request-id"], shown["x-echo"], shown["x-ratelimit-remaining-tokens"]) == ("r7", "[key]", "5")
    assert not shown.keys() & {"set-cookie", "x-api-key"}
    assert len(received.body) <= 8_000
    assert received.body.startswith(("data:", "\n"))
    assert body.decode().endswith(received.body)


async def test_an_error_has_what_came_back() -> None:
    server = MockServer(lambda _: httpx.Response(400, headers={"x-request-id": "r8"}, json={"error": "No."}))
    with pytest.raises(ServerError) as refusal:
        await events_of(server, SamplingOptions())
    received = refusal.value.received
    assert received and (received.status, received.body) == (400, '{"error":"No."}')
    assert ("x-request-id", "r8") in received.headers
