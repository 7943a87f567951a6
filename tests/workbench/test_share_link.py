"""What a link fills in, and what it does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.workbench.share_link import NAMES, read

MOST = 100
WHOLE = {
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
    assert read(WHOLE, MOST) == (WHOLE, [])
    assert tuple(WHOLE) == NAMES


def test_a_link_without_a_query_fills_in_nothing() -> None:
    assert read({}, MOST) == ({}, [])


@pytest.mark.parametrize("name", NAMES)
def test_a_blank_value_fills_in_the_blank_one(name: str) -> None:
    assert read({name: ""}, MOST) == ({name: ""}, [])


def test_the_reasoning_effort_is_filled_in_as_the_list_has_it() -> None:
    assert read({"reasoning_effort": " High "}, MOST) == ({"reasoning_effort": "high"}, [])


@pytest.mark.parametrize(
    ("name", "value", "note"),
    [
        ("temperature", "2.1", "The link's temperature was left out: Temperature is `2.1`."),
        ("temperature", "nan", "The link's temperature was left out: Temperature is `nan`."),
        ("temperature", "warm\x1b]0;", "The link's temperature was left out: Temperature is `warm ]0;`."),
        ("top_p", "-0.1", "The link's top p was left out: Top p is `-0.1`."),
        ("max_tokens", "0", "The link's max tokens was left out: Max tokens is `0`."),
        ("seed", "1.5", "The link's seed was left out: Seed is `1.5`."),
        ("seed", "٣", "The link's seed was left out: Seed is `٣`."),
        ("reasoning_effort", "no`ne", "The link's reasoning effort was left out: Reasoning effort is `no'ne`."),
        ("model", "a\nb", "The link's model was left out: it has characters that cannot be shown."),
        ("model", "\u202egnp.exe", "The link's model was left out: it has characters that cannot be shown."),
        ("message", "\ud83d", "The link's message was left out: it has characters that cannot be shown."),
        ("system_prompt", "\udc00", "The link's system prompt was left out: it has characters that cannot be shown."),
        ("message", "\0", "The link's message was left out: it has characters that cannot be shown."),
        ("temperature", "\ud83d", "The link's temperature was left out: it has characters that cannot be shown."),
    ],
)
def test_what_cannot_be_taken_is_left_out_with_one_sentence(name: str, value: str, note: str) -> None:
    assert read(WHOLE | {name: value}, MOST) == ({key: WHOLE[key] for key in WHOLE if key != name}, [note])


@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_is_too_long_is_left_out(name: str) -> None:
    most = MOST if name in ("system_prompt", "message") else 300
    fits = "0" * most if name in ("temperature", "top_p") else " " * most
    if name != "reasoning_effort":
        assert read({name: fits}, MOST) == ({name: fits}, [])
    values, notes = read({name: "x" * (most + 1)}, MOST)
    assert values == {}
    label = name.replace("_", " ")
    assert notes == [f"The link's {label} was left out: it has {most + 1} characters, and at most {most} are taken."]


def test_unknown_names_have_one_note_together() -> None:
    query = {"prompt": "x", "<b>`x`\n\u202e": "", "": "y", "Seed": "1", "temp": "2", "more": "3", "seed": "1"}
    values, notes = read(query, MOST)
    assert values == {"seed": "1"}
    assert notes == ["The link has what this page does not know: `prompt`, `<b>'x'`, `(no text)`, `Seed`, `temp`."]


def test_what_gradio_and_senders_of_links_add_is_passed_over() -> None:
    query = dict.fromkeys(("__theme", "__sign", "view", "logs", "ssr_mode", "deep_link", "utm_source", "utm_x"), "x")
    assert read(query, MOST) == ({}, [])


ANY = st.text(st.characters(), max_size=400)


@given(st.dictionaries(st.sampled_from(NAMES) | ANY, ANY, max_size=12))
def test_no_link_breaks_it_and_every_note_is_one_short_line(query: dict[str, str]) -> None:
    values, notes = read(query, MOST)
    assert set(values) <= set(query)
    assert len(notes) <= len(NAMES) + 1
    assert all(note.isprintable() and len(note) < 400 for note in notes)
    "".join(values.values()).encode()
