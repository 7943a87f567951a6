"""Foreign text is harmless Markdown, and shows no key and no path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core.text import as_code, quote


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Model not found", "`Model not found`"),
        ("a `b` ```c```", "`a 'b' '''c'''`"),
        ("a\n\n  b\r\n\tc\u2028d", "`a b c d`"),
        ("x" * 301, "`" + "x" * 300 + "…`"),
        (" \n", "`(no text)`"),
        ("/models/Llama-3.2-3B", "`/models/Llama-3.2-3B`"),
    ],
)
def test_text_becomes_one_line_of_code(text: str, code: str) -> None:
    assert as_code(text) == code


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Incorrect API key provided: sk-proj-Abc123*** given", "Incorrect API key provided: [key] given"),
        ("hf_AbCdEf012345 is no key", "[key] is no key"),
        ("Bearer eyJhbGciOi.J9.x_y-z is expired", "Bearer [key] is expired"),
        ("the token ab12cd34ef is expired", "the token [key] is expired"),
        ("http://me:secret@host/x", "http://[key]@host/x"),
        ("GET /x?api_key=abcd1234", "GET /x?api_key=[key]"),
        ("{'api_key': 'abcd1234'}", "{'api_key': '[key]'}"),
        ('password="hunter22"', 'password="[key]"'),
        ("x" * 290 + " sk-abcdef0123456789", "x" * 290 + " [key]"),
        ("cannot open /home/x/y.py", "cannot open [path]"),
        ("cache=~/x/y.gguf (missing)", "cache=[path] (missing)"),
        (r"C:\x\y is missing", "[path] is missing"),
        ("nothing in /etc", "nothing in [path]"),
    ],
)
def test_keys_and_file_paths_are_removed(text: str, result: str) -> None:
    assert quote(text) == f"`{result}`"


@pytest.mark.parametrize("text", ["wrong key: open sesame, try again", "wrong key: Open Sesame, try again"])
def test_the_key_in_use_is_removed_whatever_it_looks_like(text: str) -> None:
    assert quote(text, ["open sesame"]) == "`wrong key: [key], try again`"
    assert quote("no user a&amp;b", ["a&b"]) == "`no user [key]`"


@pytest.mark.parametrize(
    "text",
    [
        "There is no route POST /v1/chat/completions here",
        "meta-llama/Llama-3.2-3B",
        "hf-internal-testing/tiny-random-llama",
        "http://localhost:11434/api/chat",
        "max_tokens: 8192",
        "Bearer authentication required",
    ],
)
def test_routes_model_ids_and_plain_words_stay(text: str) -> None:
    assert quote(text) == f"`{text}`"


@given(st.text(), st.integers(1, 400))
def test_any_text_becomes_one_short_piece_of_code(text: str, limit: int) -> None:
    for code in (as_code(text, limit), quote(text)):
        assert code[0] == code[-1] == "`"
        assert "`" not in code[1:-1]
        assert len(code.splitlines()) == 1
    assert len(as_code(text, limit)) <= max(limit + 3, len("`(no text)`"))
