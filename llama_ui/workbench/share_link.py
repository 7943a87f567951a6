"""A link that carries an experiment: the query of the page's address fills in the settings and the message."""

import re
from collections.abc import Mapping

from llama_ui.core.conversation import SAMPLING, SETTINGS
from llama_ui.core.errors import InputError
from llama_ui.core.messages import parse_sampling_options
from llama_ui.core.text import as_code

NAMES = (*SETTINGS, "message")
MAX_CHARS = 300  # in a value that is not sent as text
# Names that Gradio itself uses, or that mail programs and the like add to links.
_IGNORED = ("view", "logs", "ssr_mode", "deep_link")
_IGNORED_PREFIXES = ("__", "utm_")


def read(query: Mapping[str, str], max_text_chars: int) -> tuple[dict[str, str], list[str]]:
    """The values to fill in, and a sentence in Markdown about each that is too long, out of range or unknown.

    `max_text_chars` limits a system prompt and a message. A blank value is filled in, too: an empty system prompt.
    """
    values: dict[str, str] = {}
    notes: list[str] = []
    for name in filter(query.__contains__, NAMES):
        value = str(query[name])
        if name == "reasoning_effort":
            value = value.strip().lower()  # as in the list of choices
        if problem := _problem(name, value, max_text_chars):
            notes.append(f"The link's {name.replace('_', ' ')} was left out: {problem}.")
        else:
            values[name] = value
    if unknown := [as_code(name, 40) for name in query if not _is_known(name)]:
        notes.append(f"Ignored unknown link setting{'s' * (len(unknown) > 1)}: {', '.join(unknown[:5])}.")
    return values, notes


def _problem(name: str, value: str, max_text_chars: int) -> str:
    """Why a value is not filled in; blank where it is."""
    limit = max_text_chars if name in ("system_prompt", "message") else MAX_CHARS
    if len(value) > limit:
        return f"it has {len(value):,} characters; at most {limit:,} are allowed"
    if re.search("[\0\ud800-\udfff]", value) or (name == "model" and not value.isprintable()):
        return "it has characters that cannot be shown"
    if name in SAMPLING:
        try:
            parse_sampling_options(*(value if name == other else None for other in SAMPLING))
        except InputError as error:
            return error.sentence.removesuffix(".")
    return ""


def _is_known(name: str) -> bool:
    return name in NAMES or name in _IGNORED or name.startswith(_IGNORED_PREFIXES)
