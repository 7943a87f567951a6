"""A link that carries an experiment: the query of the page's address fills in the settings and the message."""

from collections.abc import Mapping

from llama_ui.core.conversation import SETTINGS, ChatSettings
from llama_ui.core.errors import InputError
from llama_ui.core.messages import sanitize_text
from llama_ui.core.option_values import MAX_JSON_CHARS
from llama_ui.core.text import as_code

NAMES = (*SETTINGS, "message")
MAX_CHARS = 300  # in a value that is not sent as text
_LIMITS = dict.fromkeys(("response_format", "extra_body", "examples", "stop"), MAX_JSON_CHARS)
# Names that Gradio itself uses, or that mail programs and the like add to links.
_IGNORED = ("view", "logs", "ssr_mode", "deep_link")
_PREFIXES = ("__", "utm_")


def read(query: Mapping[str, str], max_text_chars: int) -> tuple[dict[str, str], list[str]]:
    """The values to fill in, blank ones too, and a sentence in Markdown about each that cannot be filled in."""
    values: dict[str, str] = {}
    notes: list[str] = []
    for name in filter(query.__contains__, NAMES):
        value = sanitize_text(str(query[name]))
        if name in ("reasoning_effort", "streaming", "thinking"):
            value = value.strip().lower()  # as in the list of choices
        limit = _LIMITS.get(name, MAX_CHARS) if name not in ("system_prompt", "message") else max_text_chars
        try:
            if len(value) > limit:
                raise InputError(f"it has {len(value):,} characters; at most {limit:,} are allowed.", "")
            ChatSettings.from_texts({name: value})
            values[name] = value
        except InputError as error:
            notes.append(f"The link's {name.replace('_', ' ')} was left out: {error.sentence}")
    known = (*NAMES, *_IGNORED)
    if unknown := [as_code(name, 40) for name in query if name not in known and not name.startswith(_PREFIXES)]:
        notes.append(f"Ignored unknown link setting{'s' * (len(unknown) > 1)}: {', '.join(unknown[:5])}.")
    return values, notes
