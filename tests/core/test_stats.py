"""The line with the time and the tokens of a reply."""

import pytest

from llama_ui.core.stats import Stats, format_stats


@pytest.mark.parametrize(
    ("stats", "line"),
    [
        (
            Stats(0.1, 0.314, 0.5, 13, 22, estimated=False, finish_reason="stop"),
            "0.31 s to first token · 42.0 tokens/s · 13 tokens in, 22 out · stop",
        ),
        (
            Stats(first=1.0, generating=2.0, prompt_tokens=1300, completion_tokens=5, finish_reason="length"),
            "1.00 s to first token · ≈2.0 tokens/s · ≈1,300 tokens in, ≈5 out · length",
        ),
        (Stats(waited=3.0), ""),
        (Stats(first=0.25, completion_tokens=1), "0.25 s to first token · ≈0 tokens in, ≈1 out"),
        (Stats(prompt_tokens=9, estimated=False), "9 tokens in, 0 out"),
    ],
)
def test_the_line_has_what_is_known_and_marks_estimates(stats: Stats, line: str) -> None:
    assert format_stats(stats) == line


def test_the_servers_reason_is_one_short_printable_text() -> None:
    assert format_stats(Stats(finish_reason="a\x1b]0;b\n" + "c" * 99)) == "a ]0;b " + "c" * 33
    assert format_stats(Stats(finish_reason="\x1b\x1b")) == ""
