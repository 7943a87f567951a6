"""What a server or the engine behind it reports as an error, and what a person reads of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core.errors import (
    AuthFailed,
    BadReply,
    Busy,
    ContentFiltered,
    MessageRefused,
    NotALlamaStack,
    ServerError,
    TLSMismatch,
    TooLong,
    UnknownModel,
)
from llama_ui.llama_stack.error_replies import RequestContext, explain_event, explain_status

URL = "http://stack.test:8321"
REQUEST = RequestContext(URL, "some/model", timeout=30.0)
WITH_IMAGE = RequestContext(URL, "some/model", timeout=30.0, images=1)


def explain(status: int, message: object, request: RequestContext = REQUEST, **fields: object) -> ServerError:
    """The error for a response with this status and message, which must be the same one inside a stream."""
    error = explain_status(status, {"error": {"message": message, **fields}}, {}, request)
    if status == 400:
        assert str(explain_event({"message": f"400: {message}", **fields}, "", request)) == str(error)
    return error


def explain_engine(status: int, body: object, request: RequestContext = REQUEST) -> ServerError:
    """The error for an error of the engine that the server passes on."""
    return explain_status(500, {"error": {"message": f"Error code: {status} - {body}"}}, {}, request)


@pytest.mark.parametrize(
    ("status", "kind", "sentence", "fix"),
    [
        (400, MessageRefused, "The server answered with an error (400): `No`.", "Change the request, or try again."),
        (401, AuthFailed, "The server wants a key.", "Set LLAMA_STACK_CLIENT_API_KEY to a valid one"),
        (403, AuthFailed, "The server wants a key.", "Set LLAMA_STACK_CLIENT_API_KEY to a valid one"),
        (404, NotALlamaStack, f"There is no Llama Stack chat route at {URL}.", "without a path"),
        (405, NotALlamaStack, f"There is no Llama Stack chat route at {URL}.", "without a path"),
        (408, Busy, "The server is busy (408): `No`.", "Try again in a moment."),
        (422, MessageRefused, "The server answered with an error (422): `No`.", "Change the request, or try again."),
        (429, Busy, "The server is busy (429): `No`.", "Try again in a moment."),
        (500, BadReply, "The server failed (500): `No`.", "The model engine behind it may be down."),
        (502, BadReply, "The server is not available (502): `No`.", "Try again in a moment."),
        (503, BadReply, "The server is not available (503): `No`.", "Try again in a moment."),
    ],
)
def test_a_status_decides_the_error(status: int, kind: type[ServerError], sentence: str, fix: str) -> None:
    error = explain(status, "No.")
    assert (type(error), error.sentence) == (kind, sentence)
    assert fix in error.fix


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        (401, {"error": {"message": "Incorrect API key provided: sk-a***"}}, BadReply, "refused the server's own key."),
        (404, "404 page not found", BadReply, "answered with an error (404): `404 page not found`."),
        (422, "{[]: 1}", MessageRefused, "answered with an error (422): `{[]: 1}`."),
        (429, {"error": {"message": "Too fast", "code": None}}, Busy, "is busy (429): `Too fast`."),
        (500, {"error": "out of memory"}, BadReply, "failed (500): `out of memory`."),
        (503, "", BadReply, "is not available (503): `(no text)`."),
    ],
)
def test_an_error_of_the_engine_is_attributed_to_it(
    status: int, body: object, kind: type[ServerError], sentence: str
) -> None:
    error = explain_engine(status, body)
    assert (type(error), error.sentence) == (kind, f"The model engine behind the server {sentence}")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "Not so."}}, "Not so"),
        ({"error": "Not so."}, "Not so"),
        ({"message": "Not so."}, "Not so"),
        ("Not so.", "Not so"),
        (["Not so.", {"msg": "Nor so."}], "Not so.; Nor so"),
        ({"error": {"detail": {"errors": [{"loc": [], "msg": "Field required"}]}}}, "Field required"),
        ({"detail": [{"loc": ["body", "x"], "msg": "Field required"}, {"msg": "Bad"}]}, "Field required; Bad"),
        (None, "(no text)"),
        ([], "(no text)"),
        ({"error": {"message": 5}}, "{'error': {'message': 5}}"),
    ],
)
def test_the_servers_own_words_are_quoted_without_the_json_around_them(body: object, words: str) -> None:
    error = explain_status(400, body, {}, REQUEST)
    assert error.sentence == f"The server answered with an error (400): `{words}`."


def test_the_key_in_use_is_never_quoted() -> None:
    request = RequestContext(URL, "some/model", has_key=True, secrets=["tomatoes"])
    assert explain(401, "tomatoes?", request).sentence == "The server refused the key."
    assert "`The gateway dislikes [key]`" in explain(400, "The gateway dislikes tomatoes", request).sentence


@pytest.mark.parametrize(
    ("retry_after", "when"),
    [
        ("7", "in 7 s"),
        ("0", "in 1 s"),
        ("9" * 5000, "in a moment"),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "in a moment"),
    ],
)
def test_the_fix_says_when_to_try_again(retry_after: str, when: str) -> None:
    error = explain_status(429, {"detail": "Later."}, {"retry-after": retry_after}, REQUEST)
    assert error.fix == f"Try again {when}."


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        ({"message": "boom"}, BadReply, "The server broke off with an error: `boom`."),
        ({"message": "500: Internal server error"}, BadReply, "The server failed (500): `Internal server error`."),
        ({"message": "Slow down", "code": 429}, Busy, "The server is busy (429): `Slow down`."),
        (None, BadReply, "The server broke off with an error: `the text`."),
        ({"message": "429: Error code: 429 - {'error': 'Slow'}"}, Busy, "The model engine behind the server is busy"),
        ({"message": "Model 'x' not found"}, UnknownModel, "The server has no model `some/model`."),
    ],
)
def test_an_error_inside_a_stream_has_its_status_in_front_or_none(
    body: object, kind: type[ServerError], sentence: str
) -> None:
    error = explain_event(body, "the text", REQUEST)
    assert type(error) is kind
    assert error.sentence.startswith(sentence)


@pytest.mark.parametrize("path", ["/v1", "/v1/x"])
def test_a_path_that_does_not_belong_to_the_address_is_named(path: str) -> None:
    error = explain(404, "Not Found", RequestContext(URL + path, "some/model"))
    assert error.fix == f"Leave {path} off the address: {URL}."


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Invalid value: No endpoint found for /v1/chat/completions", NotALlamaStack),  # llama-stack 0.1
        ("The plain HTTP request was sent to HTTPS port", TLSMismatch),  # nginx
        ("Client sent an HTTP request to an HTTPS server.", TLSMismatch),  # Go
    ],
)
def test_a_400_for_a_wrong_address_is_explained_as_one(message: str, kind: type[ServerError]) -> None:
    assert type(explain(400, message)) is kind


# Unknown models


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "Model 'some/model' not found. Use 'client.models.list()' to list available Models."),
        (400, "Invalid value: Model 'some/model' not found"),  # llama-stack 0.2
        (404, "The model `some/model` does not exist."),  # vLLM
        (400, "Unknown model: some/model"),
    ],
)
def test_an_unknown_model_is_explain(status: int, message: str) -> None:
    for error in (explain(status, message), explain(404, "No.", code="model_not_found")):
        assert (type(error), error.sentence) == (UnknownModel, "The server has no model `some/model`.")


# Too long

VLLM = (
    "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8500 in the messages, "
    "500 in the completion). Please reduce the length of the messages or completion."
)


OF_9000 = ": 9,000 tokens, 808 more than the 8,192 that it takes."


@pytest.mark.parametrize(
    ("message", "much"),
    [
        (VLLM, OF_9000),
        ("This model's maximum context length is 8192 tokens. However, your request has 9000 input tokens.", OF_9000),
        ("request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it", OF_9000),
        ("prompt is too long: 9000 tokens > 8192 maximum", OF_9000),
        ("This model's maximum context length is 128,000 tokens.", ". It takes 128,000 tokens."),
        ("the request exceeds the available context size. try increasing the context size", "."),
        (f"maximum context length is {'9' * 5000} tokens", "."),
    ],
)
def test_the_error_for_a_conversation_that_is_too_long_says_by_how_much(message: str, much: str) -> None:
    for error in (explain(400, message), explain_engine(400, {"error": {"message": message}})):
        assert (type(error), error.sentence) == (TooLong, f"The conversation is too long for the model{much}")
        assert "shorten" in error.fix


@pytest.mark.parametrize(
    "fields", [{"code": "context_length_exceeded"}, {"code": 400, "type": "exceed_context_size_error"}]
)
def test_a_conversation_that_is_too_long_is_recognized_by_its_code_alone(fields: dict[str, object]) -> None:
    assert type(explain(400, "No.", **fields)) is TooLong
    assert type(explain_engine(400, {"error": {"message": "No.", **fields}})) is TooLong


# Images


@pytest.mark.parametrize(
    "message",
    [
        "At most 0 image(s) may be provided in one prompt.",  # vLLM
        "some/model is not a multimodal model",
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",  # llama.cpp
        "failed to process inputs: this model is missing data required for image input",  # Ollama
        "Invalid content type. image_url is only supported by certain models.",  # OpenAI
    ],
)
def test_a_model_without_vision_is_explain(message: str) -> None:
    for error in (explain(400, message, WITH_IMAGE), explain_engine(500, {"error": {"message": message}}, WITH_IMAGE)):
        assert (type(error), error.sentence) == (MessageRefused, "The model `some/model` cannot see pictures.")
    assert "picture" not in explain(400, message).sentence.replace(message, ""), "the request has no image"


# The content filter


@pytest.mark.parametrize(
    ("status", "message", "fields"),
    [
        (400, "No.", {"code": "content_filter"}),
        (400, "The prompt triggered Azure OpenAI's content management policy.", {}),
        (403, "This request violates the safety policy.", {}),
    ],
)
def test_a_content_filter_is_explain(status: int, message: str, fields: dict[str, object]) -> None:
    assert type(explain(status, message, **fields)) is ContentFiltered
    assert type(explain_engine(status, {"error": {"message": message, **fields}})) is ContentFiltered


# Anything else

OTHER_WORDS = [
    "Unknown parameter 'seed' for this model",
    "Extra inputs are not permitted: content_filter",
    "failed to allocate context size 8192: CUDA out of memory",
    "At most 1 image(s) may be provided in one prompt.",
    "This model does not support images larger than 20 MB",
]


@pytest.mark.parametrize("message", OTHER_WORDS)
def test_any_other_error_is_quoted(message: str) -> None:
    error = explain(400, message, WITH_IMAGE)
    words = message.removesuffix(".")
    assert (type(error), error.sentence) == (MessageRefused, f"The server answered with an error (400): `{words}`.")


@pytest.mark.parametrize("text", ["violates " * 200_000, "9" * 1_000_000, "model " * 200_000, "[" * 100_000])
def test_hostile_words_do_not_hold_up_the_app(text: str) -> None:
    explain_status(400, {"error": {"message": f"Error code: 400 - {text}", "code": text}}, {}, WITH_IMAGE)


json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([VLLM, *OTHER_WORDS]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "detail", "message", "code", "type", "x"]), inner)
    ),
    max_leaves=6,
)


@given(status=st.integers(400, 599), body=json_values, engine=st.booleans())
def test_any_body_becomes_one_line_with_a_fix(status: int, body: object, engine: bool) -> None:
    body = {"error": {"message": f"Error code: {status} - {body}"}} if engine else body
    for error in (explain_status(status, body, {}, WITH_IMAGE), explain_event(body, json.dumps(body), WITH_IMAGE)):
        assert error.sentence.endswith(".") and error.fix.endswith(".")
        assert len(str(error).splitlines()) == 1
        assert len(str(error)) < 900
