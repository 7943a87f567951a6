"""What a reply took, as one line for people.  Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stats:
    """What a reply took: times in seconds; tokens as the server counts them, or `estimated` where it does not.

    `waited`: until the request went out, for room in line or for the server to get ready. `first`: from then to the
    first token, be it of a thought; None where none came. `generating`: from the first token to the last.
    """

    waited: float = 0.0
    first: float | None = None
    generating: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = True
    finish_reason: str | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """Of those that came after the first one, for which `first` is the time; None where there are none."""
        after = self.completion_tokens - 1
        return after / self.generating if after > 0 and self.generating > 0 else None


def format_stats(stats: Stats) -> str:
    """For example "0.31 s to first token · 42.0 tokens/s · 13 tokens in, 27 out · stop".

    What is not known is left out; with nothing known it is empty. "≈" stands before what was estimated.
    """
    about = "≈" if stats.estimated else ""
    parts = []
    if stats.first is not None:
        parts.append(f"{stats.first:.2f} s to first token")
    if stats.tokens_per_second is not None:
        parts.append(f"{about}{stats.tokens_per_second:.1f} tokens/s")
    if (stats.prompt_tokens or stats.completion_tokens) and not (stats.estimated and stats.first is None):
        parts.append(f"{about}{stats.prompt_tokens:,} tokens in, {about}{stats.completion_tokens:,} out")
    if stats.finish_reason:
        # A server's own word: one printable line of it, whatever it sent.
        parts.append("".join(char if char.isprintable() else " " for char in stats.finish_reason[:40]).strip())
    return " · ".join(filter(None, parts))
