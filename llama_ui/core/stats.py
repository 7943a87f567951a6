"""The time and the tokens of a reply, and the line that shows them."""

from dataclasses import dataclass

MAX_SPEED = 5_000  # tokens per second; the fastest hardware generates 3,000 of a reply
ENDED_EARLY = ("stopped", "failed")  # finish reasons of this app
MANY = 20  # tokens, which no server sends at once


@dataclass(frozen=True, slots=True)
class Stats:
    """The time in seconds and the tokens of a reply."""

    waited: float = 0.0  # until the request goes out
    first: float | None = None  # from then to the first token, of the reasoning or the answer
    generating: float = 0.0  # from that to the last one
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = True  # the tokens, where the server does not count them
    finish_reason: str | None = None  # in OpenAI's terms
    mean_probability: float | None = None  # of the tokens, 0 to 1, where the server told their probabilities
    lowest_probability: float | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """The speed after the first token, the time of which is `first`; None without more tokens than that."""
        more = self.completion_tokens - 1
        return more / self.generating if more > 0 and self.generating * MAX_SPEED > more else None

    @property
    def in_one_piece(self) -> bool:
        """Whether a reply of some length came faster than any model generates: its stream was held back."""
        return self.completion_tokens >= MANY and self.generating * MAX_SPEED <= self.completion_tokens - 1


def format_stats(stats: Stats) -> str:
    """For example "0.31 s to first token · 42.0 tokens/s · 13 tokens in, 27 out · stop", without unknown parts."""
    about = "≈" if stats.estimated else ""
    parts = []
    if stats.first is not None:
        parts.append(f"{stats.first:.2f} s to first token")
    if stats.tokens_per_second is not None:
        parts.append(f"{about}{stats.tokens_per_second:.1f} tokens/s")
    if stats.prompt_tokens or stats.completion_tokens:
        parts.append(f"{about}{stats.prompt_tokens:,} tokens in, {about}{stats.completion_tokens:,} out")
    if stats.mean_probability is not None and stats.lowest_probability is not None:
        parts.append(f"probability {stats.mean_probability:.0%} mean, {stats.lowest_probability:.1%} lowest")
    if stats.finish_reason in ENDED_EARLY:
        parts.append(f"{stats.finish_reason} after {stats.waited + (stats.first or 0) + stats.generating:.2f} s")
    elif stats.finish_reason:  # the server's own text: one printable line of it
        parts.append("".join(char if char.isprintable() else " " for char in stats.finish_reason[:40]).strip())
    return " · ".join(filter(None, parts))
