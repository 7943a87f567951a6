"""Each failure is one plain sentence and one thing to do about it; a server's words in it are harmless."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_ui.core import errors
from llama_ui.core.errors import (
    AuthFailed,
    BadReply,
    Busy,
    ChatError,
    ConnectionLost,
    InputError,
    LocalStackError,
    NameNotFound,
    NoAnswer,
    NoServer,
    NotALlamaStack,
    NotListening,
    ServerError,
    TimedOut,
    TLSMismatch,
    TooLong,
    UnknownModel,
    Unreachable,
    as_code,
    quoted,
)


def test_every_failure_can_be_caught_as_one() -> None:
    for kind in (InputError, NoServer, LocalStackError, ServerError):
        assert issubclass(kind, ChatError)
    for kind in (
        Unreachable,
        ConnectionLost,
        TimedOut,
        AuthFailed,
        UnknownModel,
        NotALlamaStack,
        Busy,
        TooLong,
        BadReply,
    ):
        assert issubclass(kind, ServerError)
    for kind in (NameNotFound, NotListening, TLSMismatch, NoAnswer):
        assert issubclass(kind, Unreachable)


def test_the_picture_of_the_tree_has_every_failure() -> None:
    kinds = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, ChatError)]
    assert set(kinds) - set(re.findall(r"\w+", str(errors.__doc__))) == set()


def test_an_error_is_its_sentence_and_its_fix() -> None:
    error = NoServer("No server answers.", "Start one.")
    assert (error.sentence, error.fix, str(error)) == (
        "No server answers.",
        "Start one.",
        "No server answers. Start one.",
    )


def test_an_error_without_a_fix_ends_with_its_sentence() -> None:
    assert str(ChatError("It is late.", "")) == "It is late."


def test_the_servers_words_stand_as_code() -> None:
    assert quoted("Model not found") == "`Model not found`"


def test_backticks_cannot_end_the_code_early() -> None:
    assert quoted("a `b` ```c```") == "`a 'b' '''c'''`"


def test_words_on_many_lines_become_one() -> None:
    assert quoted("a\n\n  b\r\n\tc\u2028d") == "`a b c d`"


def test_long_words_are_cut() -> None:
    assert quoted("x" * 301) == "`" + "x" * 300 + "…`"
    assert quoted("x" * 300) == "`" + "x" * 300 + "`"
    assert as_code("abcdef", 3) == "`abc…`"


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_no_words_are_said_to_be_none(blank: str) -> None:
    assert quoted(blank) == "`(no text)`"


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("Incorrect API key provided: sk-proj-Abc123*** given", "Incorrect API key provided: [key] given"),
        ("hf_AbCdEf012345 is no key", "[key] is no key"),
        ("API key AIzaSyD-Abc123Def456 is not valid", "API key [key] is not valid"),
        ("Bearer eyJhbGciOi.J9.x_y-z is expired", "Bearer [key] is expired"),
        ("authorization: bearer abcdef123456", "authorization: bearer [key]"),
        ("api_key=abcd1234 is wrong", "api_key=[key] is wrong"),
        ("{'api_key': 'abcd1234'}", "{'api_key': '[key]'}"),
        ("x-api-key: abcd1234", "x-api-key: [key]"),
        ('password="hunter22"', 'password="[key]"'),
    ],
)
def test_keys_are_taken_out_of_a_servers_words(said: str, left: str) -> None:
    assert quoted(said) == f"`{left}`"


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("cannot open /home/x/y.py", "cannot open [path]"),
        ('File "/usr/lib/python3.12/x.py", line 5', 'File "[path]", line 5'),
        ("No such file: '/root/.llama/a b'", "No such file: '[path] b'"),
        ("error:/home/x/y.py", "error:[path]"),
        ("cache=~/x/y.gguf (missing)", "cache=[path] (missing)"),
        (r"C:\x\y is missing", "[path] is missing"),
        (r"\\server\share\f is missing", "[path] is missing"),
        ("C:/Users/x/y is missing", "C:[path] is missing"),
        ("see file:///home/x/y", "see [path]"),
    ],
)
def test_file_paths_are_taken_out_of_a_servers_words(said: str, left: str) -> None:
    assert quoted(said) == f"`{left}`"


@pytest.mark.parametrize(
    "said",
    [
        "There is no route POST /v1/chat/completions here",
        "/v1/openai/v1/chat/completions",
        "meta-llama/Llama-3.2-3B",
        "Model 'ollama/llama3:8b' not found",
        "hf-internal-testing/tiny-random-llama",
        "http://localhost:11434/api/chat",
        "max_tokens: 8192",
        "token: 8192",
        "Bearer authentication required",
        "basic functionality",
        "and/or 1/2",
    ],
)
def test_routes_model_ids_and_plain_words_are_left_alone(said: str) -> None:
    assert quoted(said) == f"`{said}`"


def test_a_key_is_not_shown_in_part_where_long_words_are_cut() -> None:
    assert "sk-" not in quoted("x" * 295 + " sk-abcdef0123456789")


def test_the_key_in_use_is_taken_out_whatever_its_form() -> None:
    assert quoted("wrong key: open sesame, try again", "open sesame") == "`wrong key: [key], try again`"


def test_a_persons_own_words_and_model_ids_stand_as_they_are() -> None:
    assert as_code("/models/Llama-3.2-3B") == "`/models/Llama-3.2-3B`"


@given(st.text(), st.integers(1, 400))
def test_text_as_code_is_always_one_short_piece_of_code(text: str, limit: int) -> None:
    for found in (as_code(text, limit), quoted(text)):
        assert found[0] == found[-1] == "`"
        assert "`" not in found[1:-1]
        assert len(found.splitlines()) == 1
    assert len(as_code(text, limit)) <= max(limit + 3, len("`(no text)`"))
