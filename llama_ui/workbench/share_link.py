"""A link that carries an experiment: what the query of the page's address fills in.  Pure."""

import re
from collections.abc import Mapping

from llama_ui.core.errors import InputError
from llama_ui.core.messages import parse_sampling_options
from llama_ui.core.text import as_code

SAMPLING = ("temperature", "top_p", "max_tokens", "seed", "reasoning_effort")
NAMES = ("system_prompt", "model", *SAMPLING, "message")
MOST_CHARS = 300  # in a value that is no text to send
# Gradio's own, and what senders of links add.
_FOREIGN = ("view", "logs", "ssr_mode", "deep_link")
_FOREIGN_BEGINNINGS = ("__", "utm_")


def read(query: Mapping[str, str], most_chars: int) -> tuple[dict[str, str], list[str]]:
    """The values to fill in, and a sentence in Markdown for each that is left out: over-long, out of range or unknown.

    `most_chars`: the most in a system prompt or a message. A blank value is one, too: an empty system prompt.
    """
    values: dict[str, str] = {}
    notes: list[str] = []
    for name in filter(query.__contains__, NAMES):
        value = str(query[name])
        if name == "reasoning_effort":
            value = value.strip().lower()  # as the list has it
        if note := _fault(name, value, most_chars):
            notes.append(f"The link's {_label(name)} was left out: {note}.")
        else:
            values[name] = value
    if unknown := [name for name in query if not _is_known(name)]:
        notes.append(
            f"The link has what this page does not know: {', '.join(as_code(name, 40) for name in unknown[:5])}."
        )
    return values, notes


def _fault(name: str, value: str, most_chars: int) -> str:
    """Why a value is not filled in; blank where it is."""
    most = most_chars if name in ("system_prompt", "message") else MOST_CHARS
    if len(value) > most:
        return f"it has {len(value):,} characters, and at most {most:,} are taken"
    if re.search("[\0\ud800-\udfff]", value) or (name == "model" and not value.isprintable()):
        return "it has characters that cannot be shown"
    if name in SAMPLING:
        try:
            parse_sampling_options(*(value if name == other else None for other in SAMPLING))
        except InputError as error:
            return error.sentence.removesuffix(".")
    return ""


def _label(name: str) -> str:
    return name.replace("_", " ")


def _is_known(name: str) -> bool:
    return name in NAMES or name in _FOREIGN or name.startswith(_FOREIGN_BEGINNINGS)
