"""Which settings a share link fills in."""

import pytest

from llama_ui.workbench.share_link import NAMES, read

MAX_CHARS = 100
COMPLETE = {
    "system_prompt": "You are shakespeare.\n\n  Rhyme. 🦙",
    "model": "meta-llama/Llama-3.2 (3B)",
    "temperature": "0.5",
    "top_p": "0,9",
    "max_tokens": "200",
    "seed": "7",
    "reasoning_effort": "low",
    "streaming": "off",
    "response_format": '{"type": "object"}',
    "top_logprobs": "5",
    "n": "4",
    "stop": "END\nSTOP",
    "frequency_penalty": "-0.5",
    "presence_penalty": "0.5",
    "thinking": "off",
    "extra_body": '{"top_k": 40}',
    "examples": '[{"user": "2+2?", "assistant": "4"}]',
    "message": "A poem about <b>moons</b> </script> \x1b",
}


def test_a_link_fills_in_every_setting_and_the_message() -> None:
    assert read(COMPLETE, MAX_CHARS) == (COMPLETE, [])
    assert tuple(COMPLETE) == NAMES


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ({}, {}),
        ({"system_prompt": ""}, {"system_prompt": ""}),
        ({"reasoning_effort": " High "}, {"reasoning_effort": "high"}),
        ({"streaming": "OFF"}, {"streaming": "off"}),
        ({"message": "a\0\ud83db"}, {"message": "a\ufffd\ufffdb"}),
        (dict.fromkeys(("__theme", "view", "logs", "ssr_mode", "deep_link", "utm_source"), "x"), {}),
    ],
    ids=[
        "no query",
        "a blank value",
        "an effort in other letters",
        "streaming in other letters",
        "bad characters",
        "others' names",
    ],
)
def test_a_link_is_read_without_a_note(query: dict[str, str], values: dict[str, str]) -> None:
    assert read(query, MAX_CHARS) == (values, [])


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("temperature", "warm\x1b]0;", "Temperature must be 0–2, or empty."),
        ("reasoning_effort", "no`ne", "Reasoning effort must be none, minimal, low, medium, high, xhigh, or empty."),
        ("streaming", "on", "Streaming must be off, or empty."),
    ],
)
def test_a_bad_value_is_left_out_with_one_sentence(name: str, value: str, problem: str) -> None:
    note = f"The link's {name.replace('_', ' ')} was left out: {problem}"
    others = {key: COMPLETE[key] for key in COMPLETE if key != name}
    assert read(COMPLETE | {name: value}, MAX_CHARS) == (others, [note])


@pytest.mark.parametrize(("name", "limit"), [("system_prompt", MAX_CHARS), ("message", MAX_CHARS), ("model", 300)])
def test_a_value_that_is_too_long_is_left_out(name: str, limit: int) -> None:
    assert read({name: "x" * limit}, MAX_CHARS) == ({name: "x" * limit}, [])
    values, notes = read({name: "x" * (limit + 1)}, MAX_CHARS)
    assert values == {}
    label = name.replace("_", " ")
    assert notes == [f"The link's {label} was left out: it has {limit + 1} characters; at most {limit} are allowed."]


def test_unknown_names_share_one_note() -> None:
    query = {"prompt": "x", "<b>`x`\n\u202e": "", "": "y", "Seed": "1", "temp": "2", "more": "3", "seed": "1"}
    values, notes = read(query, MAX_CHARS)
    assert values == {"seed": "1"}
    assert notes == ["Ignored unknown link settings: `prompt`, `<b>'x'`, `(no text)`, `Seed`, `temp`."]
