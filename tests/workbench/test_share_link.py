"""Which settings a share link fills in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    "message": "A poem about <b>moons</b> </script> \x1b",
}


def test_a_link_fills_in_every_setting_and_the_message() -> None:
    assert read(COMPLETE, MAX_CHARS) == (COMPLETE, [])
    assert tuple(COMPLETE) == NAMES


def test_an_address_without_a_query_fills_in_nothing() -> None:
    assert read({}, MAX_CHARS) == ({}, [])


@pytest.mark.parametrize("name", NAMES)
def test_a_blank_value_is_filled_in(name: str) -> None:
    assert read({name: ""}, MAX_CHARS) == ({name: ""}, [])


def test_the_reasoning_effort_is_normalized() -> None:
    assert read({"reasoning_effort": " High "}, MAX_CHARS) == ({"reasoning_effort": "high"}, [])


CHARACTERS = "it has characters that cannot be shown."


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("temperature", "2.1", "Temperature must be 0–2, or empty."),
        ("temperature", "warm\x1b]0;", "Temperature must be 0–2, or empty."),
        ("top_p", "-0.1", "Top p must be 0–1, or empty."),
        ("max_tokens", "0", "Max tokens must be a whole number from 1, or empty."),
        ("seed", "1.5", "Seed must be a whole number from 0, or empty."),
        ("reasoning_effort", "no`ne", "Reasoning effort must be none, minimal, low, medium, high, xhigh, or empty."),
        ("model", "a\nb", CHARACTERS),
        ("model", "\u202egnp.exe", CHARACTERS),
        ("message", "\ud83d", CHARACTERS),
        ("system_prompt", "\0", CHARACTERS),
        ("temperature", "\ud83d", CHARACTERS),
    ],
)
def test_a_bad_value_is_left_out_with_one_sentence(name: str, value: str, problem: str) -> None:
    note = f"The link's {name.replace('_', ' ')} was left out: {problem}"
    assert read(COMPLETE | {name: value}, MAX_CHARS) == (
        {key: COMPLETE[key] for key in COMPLETE if key != name},
        [note],
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_is_too_long_is_left_out(name: str) -> None:
    limit = MAX_CHARS if name in ("system_prompt", "message") else 300
    longest = "0" * limit if name in ("temperature", "top_p") else " " * limit
    if name != "reasoning_effort":
        assert read({name: longest}, MAX_CHARS) == ({name: longest}, [])
    values, notes = read({name: "x" * (limit + 1)}, MAX_CHARS)
    assert values == {}
    label = name.replace("_", " ")
    assert notes == [f"The link's {label} was left out: it has {limit + 1} characters; at most {limit} are allowed."]


def test_unknown_names_share_one_note() -> None:
    query = {"prompt": "x", "<b>`x`\n\u202e": "", "": "y", "Seed": "1", "temp": "2", "more": "3", "seed": "1"}
    values, notes = read(query, MAX_CHARS)
    assert values == {"seed": "1"}
    assert notes == ["Ignored unknown link settings: `prompt`, `<b>'x'`, `(no text)`, `Seed`, `temp`."]


def test_names_of_gradio_and_of_link_trackers_are_ignored() -> None:
    query = dict.fromkeys(("__theme", "__sign", "view", "logs", "ssr_mode", "deep_link", "utm_source", "utm_x"), "x")
    assert read(query, MAX_CHARS) == ({}, [])


ANY = st.text(st.characters(), max_size=400)


@given(st.dictionaries(st.sampled_from(NAMES) | ANY, ANY, max_size=12))
def test_every_link_is_read_and_every_note_is_one_line(query: dict[str, str]) -> None:
    values, notes = read(query, MAX_CHARS)
    assert set(values) <= set(query)
    assert len(notes) <= len(NAMES) + 1
    assert all(note.isprintable() and len(note) < 400 for note in notes)
    "".join(values.values()).encode()
