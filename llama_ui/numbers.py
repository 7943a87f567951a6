"""What a reply took, as one line for people.  Pure."""

from llama_ui.chat import Stats


def line(stats: Stats) -> str:
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
