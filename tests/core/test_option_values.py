"""The settings that are more than a word or a number: how they are read and written, and what is refused."""

import pytest

from llama_ui.core.conversation import ChatSettings
from llama_ui.core.errors import InputError
from llama_ui.core.messages import parse_sampling_options
from llama_ui.core.option_values import MAX_JSON_CHARS, Example, as_text, schema_of

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
WRAPPED = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA}}
PAIRS = '[{"user": "2+2?", "assistant": "4"}]'


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("response_format", '{"type": "object", "properties": {"a": {"type": "integer"}}}', WRAPPED),
        ("response_format", '{"type": "json_object"}', {"type": "json_object"}),
        ("response_format", '{"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}',
         {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}),
        ("top_logprobs", " 5 ", 5),
        ("n", "8", 8),
        ("n", "1", None),
        ("stop", "END", ["END"]),
        ("stop", "a\n\n b \r\nc", ["a", " b ", "c"]),
        ("stop", '["\\n\\n", "b"]', ["\n\n", "b"]),
        ("stop", "[", ["["]),
        ("stop", "[1]", ["[1]"]),
        ("stop", " \n", None),
        ("stop", "[]", None),
        ("frequency_penalty", "-2", -2.0),
        ("presence_penalty", "0,5", 0.5),
        ("thinking", "On", True),
        ("thinking", " off ", False),
        ("extra_body", '{"top_k": 40, "chat_template_kwargs": {"x": [1, null]}}',
         {"top_k": 40, "chat_template_kwargs": {"x": [1, None]}}),
        ("extra_body", " ", None),
    ],
)  # fmt: skip
def test_an_option_is_read_from_a_text_and_written_as_one(name: str, text: str, value: object) -> None:
    options = parse_sampling_options(**{name: text})
    assert getattr(options, name) == value
    written = ChatSettings(options=options).texts()
    assert ChatSettings.from_texts(written).options == options
    assert [other for other, text in written.items() if text] == ([] if value is None else [name])


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("response_format", "{", "JSON schema must be valid JSON: "),
        ("response_format", "[]", "JSON schema must be a JSON object."),
        ("top_logprobs", "21", "Token probabilities must be a whole number 1–20, or empty."),
        ("n", "9", "Samples must be a whole number 1–8, or empty."),
        ("n", "0", "Samples must be a whole number 1–8, or empty."),
        ("stop", "a\nb\nc\nd\ne", "Stop sequences must be at most 4 lines of at most 200 characters, or empty."),
        ("stop", "x" * 201, "Stop sequences must be at most 4 lines of at most 200 characters, or empty."),
        ("frequency_penalty", "2.1", "Frequency penalty must be -2 to 2, or empty."),
        ("presence_penalty", "nan", "Presence penalty must be -2 to 2, or empty."),
        ("thinking", "maybe", "Thinking must be on, off, or empty."),
        ("extra_body", "[1]", "Extra fields must be a JSON object."),
        ("extra_body", '{"a": NaN}', "Extra fields must be valid JSON: "),
        ("extra_body", '{"a": 1e999}', "Extra fields must be valid JSON: "),
        ("extra_body", '{"a": "\ud800"}', "Extra fields must be valid JSON: "),
        ("extra_body", "[" * 10_000, "Extra fields must be valid JSON: "),
        ("extra_body", "x" * 10_000_000, "Extra fields must have at most 20,000 characters, not 10,000,000."),
        ("extra_body", '{"messages": []}', "Extra fields cannot have `messages`, which the app sends itself."),
        ("extra_body", '{"top_k": 1, "model": "x"}', "Extra fields cannot have `model`, which the app sends itself."),
        ("extra_body", '{"stream": false}', "Extra fields cannot have `stream`, which the app sends itself."),
    ],
)
def test_what_cannot_be_sent_gets_one_sentence(name: str, text: str, sentence: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_sampling_options(**{name: text})
    assert str(refusal.value).startswith(sentence)
    assert "\n" not in str(refusal.value)


def test_examples_are_pairs_of_texts() -> None:
    settings = ChatSettings.from_texts({"examples": PAIRS})
    assert settings.examples == (Example("2+2?", "4"),)
    assert settings.texts()["examples"] == PAIRS
    for blank in ("", " ", "[]", '[{"user": "x", "assistant": " "}]'):
        assert ChatSettings.from_texts({"examples": blank}) == ChatSettings()


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '[["a", "b"]]', '[{"user": "a"}]', '[{"user": 1, "assistant": 2}]', "1", "x" * (MAX_JSON_CHARS + 1),
     f"[{', '.join([PAIRS[1:-1]] * 21)}]"],
    ids=["no JSON", "no pair", "a list", "one text", "numbers", "a number", "too long", "too many"],
)  # fmt: skip
def test_other_examples_are_refused(text: str) -> None:
    with pytest.raises(InputError) as refusal:
        ChatSettings.from_texts({"examples": text})
    assert str(refusal.value) == "Examples must be at most 20 pairs of texts, of 20,000 characters in all."


def test_texts_stay_as_they_are() -> None:
    texts = {"system_prompt": "For Python 3.0", "model": "TinyLlama-v1.0", "stop": "a\nv1.0", "temperature": "1"}
    assert ChatSettings.from_texts(texts).texts().items() >= texts.items()
    assert [as_text(value) for value in ("v1.0", 1.0, 5, ["x"] * 9, "")] == ["v1.0", "1", "5", "\n".join("x" * 9), ""]


def test_long_and_many_examples_are_written_and_read_again() -> None:
    pairs = tuple(Example(f"{number} {'x' * 300}", "y\n" * 100 + "y") for number in range(9))
    assert ChatSettings.from_texts(ChatSettings(examples=pairs).texts()).examples == pairs


def test_the_schema_of_a_response_format_is_found() -> None:
    assert schema_of(WRAPPED) == SCHEMA
    assert schema_of({"type": "json_object"}) == {"type": "object"}
    assert schema_of({"type": "text"}) is None
    assert schema_of({"type": "json_schema", "json_schema": []}) is None
    assert schema_of(None) is None
