"""Texts in the encodings that programs save them in."""

import random
import zlib

import pytest

from llama_ui.core.decoding import decode

GERMAN = "Die Größe der Straße:\n – 5 €"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "windows-1252"])
def test_a_western_text_is_read(encoding: str) -> None:
    for end in ("\n", "\r\n", "\r"):
        assert decode(GERMAN.replace("\n", end).encode(encoding)) == GERMAN


WORDS = {
    "windows-1251": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "windows-1253": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.",
    "shift_jis": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "gb18030": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。",
    "big5": "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神對待。",
    "euc_kr": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
}


@pytest.mark.parametrize(("encoding", "words"), WORDS.items(), ids=WORDS)
def test_a_text_in_another_script_is_read(encoding: str, words: str) -> None:
    assert decode(words.encode(encoding)) == words


@pytest.mark.parametrize("letter", ["é", "ñ", "£", "°", "•", "’", "½"])
def test_one_letter_of_windows_1252_is_enough(letter: str) -> None:
    words = f"one {letter} two"
    assert decode(words.encode("windows-1252")) == words


def test_a_text_in_utf_8_that_was_cut_within_a_character_keeps_the_rest() -> None:
    assert decode("Größe, Straße €".encode()[:-1]) == "Größe, Straße \ufffd"
    assert decode("世界".encode()[1:] + "世界".encode()) == "\ufffd\ufffd界世界"


BINARY = {
    "zip": b"PK\x03\x04" + random.Random(1).randbytes(500),
    "compressed": zlib.compress(GERMAN.encode() * 9),
    "program": b"\x7fELF\2\1\1" + bytes(9) + b"\3\0\x3e\0\1\0\0\0",
    "noise": random.Random(2).randbytes(1_000_000),
    "noise of even length without control bytes": bytes(random.Random(3).choices([0, *range(0xA0, 0x100)], k=1000)),
    "half a pair": b"\xff\xfe\0\xd8",
    "an odd number of bytes": b"\xff\xfea",
    "terminal codes": b"\x1b[31mred \xe9",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("content", BINARY.values(), ids=BINARY)
def test_a_binary_file_has_no_text(content: bytes) -> None:
    assert decode(content) is None
