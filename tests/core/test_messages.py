"""Which texts, images and sampling options can be sent."""

import pytest

from llama_ui.core.errors import InputError
from llama_ui.core.messages import Image, SamplingOptions, parse_sampling_options, validate_text

RANGES = {
    "Temperature": "Temperature must be 0–2, or empty.",
    "Top p": "Top p must be 0–1, or empty.",
    "Max tokens": "Max tokens must be a whole number from 1, or empty.",
    "Seed": "Seed must be a whole number from 0, or empty.",
}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (5, "The message is not a text."),
        ("a\ud83d", "The message has characters that cannot be sent."),
        ("x" * 1001, "The message has 1,001 characters; at most 1,000 are sent."),
    ],
)
def test_a_text_that_cannot_be_sent_is_refused(text: object, sentence: str) -> None:
    with pytest.raises(InputError) as refusal:
        validate_text("message", text, 1000)
    assert refusal.value.sentence == sentence


def test_an_image_is_read_from_its_data_url() -> None:
    image = Image("image/png", "aWNvbg==")
    assert Image.from_data_url(image.data_url) == image


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a.png",
        "data:text/html;base64,aWNvbg==",
        "data:image/svg+xml;base64,aWNvbg==",
        "data:image/png,aWNvbg==",
        "data:image/png;base64,aWNvbg==\n",
        'data:image/png;base64,aWNvbg==" onload="x',
        "data:image/png;base64,",
    ],
)
def test_no_other_url_is_an_image(url: str) -> None:
    assert Image.from_data_url(url) is None


def test_a_blank_option_is_left_to_the_server() -> None:
    assert parse_sampling_options("", " ", "\n", "", " ") == SamplingOptions()


@pytest.mark.parametrize(("text", "streaming"), [("", True), ("off", False), (" Off ", False)])
def test_a_request_streams_unless_that_is_off(text: str, streaming: bool) -> None:
    assert parse_sampling_options(streaming=text).streaming == streaming


@pytest.mark.parametrize("text", ["on", "False", "no"])
def test_streaming_has_no_other_value(text: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_sampling_options(streaming=text)
    assert str(refusal.value) == "Streaming must be off, or empty."


def test_a_reasoning_effort_is_one_of_the_choices() -> None:
    assert parse_sampling_options("", "", "", "", " High ").reasoning_effort == "high"
    with pytest.raises(InputError) as refusal:
        parse_sampling_options("", "", "", "", "maximal")
    assert refusal.value.sentence == "Reasoning effort must be none, minimal, low, medium, high, xhigh, or empty."


def test_options_are_read_from_texts() -> None:
    expected = SamplingOptions(temperature=0.5, top_p=0.9, max_tokens=100, seed=7)
    assert parse_sampling_options("0,5", " 0.9 ", "100", "7.0") == expected


def test_the_limits_themselves_are_allowed() -> None:
    assert parse_sampling_options("0", "0", "", "0") == SamplingOptions(temperature=0.0, top_p=0.0, seed=0)
    largest = SamplingOptions(temperature=2.0, top_p=1.0, max_tokens=1, seed=2**31 - 1)
    assert parse_sampling_options("2", "1", "1", str(2**31 - 1)) == largest


@pytest.mark.parametrize(
    ("label", "value"),
    [
        *((label, value) for label in RANGES for value in ("9999999999", "abc", "nan", "-1", "True")),
        ("Temperature", "2.01"),
        ("Top p", "1.01"),
        ("Max tokens", "0"),
        ("Max tokens", "1.5"),
        ("Seed", "2147483648"),
        ("Seed", "9" * 5000),
        ("Seed", "٣"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_range(label: str, value: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_sampling_options(*(value if name == label else "" for name in RANGES))
    assert str(refusal.value) == RANGES[label]
