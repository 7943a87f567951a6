"""The values of the settings that are more than a word or a number, read from texts of a form and written as such."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json

from llama_ui.core.errors import InputError
from llama_ui.core.text import as_code

type JsonObject = dict[str, Any]

MAX_JSON_CHARS = 20_000  # in a schema, in extra fields, or in all examples together
MAX_STOPS, MAX_STOP_CHARS = 4, 200  # four is what OpenAI's API takes
MAX_EXAMPLES = 20
SENT_BY_THE_APP = ("messages", "model", "model_id", "stream")  # the fields that no extra field replaces


@dataclass(frozen=True, slots=True)
class Example:
    """A hand-written exchange, which is sent between the system prompt and the conversation. Neither text is blank."""

    user: str
    assistant: str


_TEXTS, _EXAMPLES = TypeAdapter(list[str]), TypeAdapter(list[Example])


def number(label: str, text: str, minimum: int, maximum: int) -> float | None:
    """A number in a range; None for a blank text. Raises InputError."""
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not minimum <= value <= maximum:
        between = "–" if minimum >= 0 else " to "
        raise InputError(f"{label} must be {minimum}{between}{maximum}, or empty.", "")
    return value


def whole_number(label: str, text: str, minimum: int, maximum: int | None = None) -> int | None:
    """A whole number in a range; None for a blank text. Raises InputError."""
    if not text:
        return None
    digits, most = text.removesuffix(".0"), maximum or 2**31 - 1  # ".0" of a number that a program sent
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and minimum <= int(digits) <= most):
        range_ = f"{minimum}–{maximum}" if maximum else f"from {minimum}"
        raise InputError(f"{label} must be a whole number {range_}, or empty.", "")
    return int(digits)


def choice(label: str, text: str, choices: Sequence[str]) -> str:
    """One of the choices in lower case, or a blank text. Raises InputError."""
    value = text.strip().lower()
    if value and value not in choices:
        raise InputError(f"{label} must be {', '.join(choices)}, or empty.", "")
    return value


def response_format(text: str) -> JsonObject | None:
    """The field `response_format` of OpenAI's API, from its own JSON or from a JSON schema alone. Raises InputError."""
    value = _json_object("JSON schema", text)
    if value is None or value.get("type") in ("json_schema", "json_object", "text"):  # no schema has these types
        return value
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": value}}


def schema_of(response_format: JsonObject | None) -> JsonObject | None:
    """The JSON schema that a field `response_format` asks for; None where it asks for none."""
    match response_format:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
        case {"type": "json_object"}:
            return {"type": "object"}
    return None


def stop_sequences(text: str) -> list[str] | None:
    """Texts at which a reply ends: one in each line, or a JSON list of texts. Raises InputError."""
    try:
        sequences = [sequence for sequence in _TEXTS.validate_json(text) if sequence]
    except ValueError:
        sequences = [line for line in text.splitlines() if line.strip()]
    if len(sequences) > MAX_STOPS or any(len(sequence) > MAX_STOP_CHARS for sequence in sequences):
        limits = f"{MAX_STOPS} lines of at most {MAX_STOP_CHARS} characters"
        raise InputError(f"Stop sequences must be at most {limits}, or empty.", "")
    return sequences or None


def extra_fields(text: str) -> JsonObject | None:
    """Fields that are merged into a request, from a JSON object. Raises InputError."""
    fields = _json_object("Extra fields", text)
    if taken := [name for name in SENT_BY_THE_APP if name in (fields or ())]:
        raise InputError(f"Extra fields cannot have {as_code(taken[0])}, which the app sends itself.", "")
    return fields


def examples(text: str) -> tuple[Example, ...]:
    """Examples from a JSON list of `{"user", "assistant"}`; those with a blank text are left out. Raises InputError."""
    try:
        pairs = _EXAMPLES.validate_json(text[: MAX_JSON_CHARS + 1].strip() or "[]")
    except ValueError:
        pairs = None
    if pairs is None or len(pairs) > MAX_EXAMPLES:
        sentence = f"Examples must be at most {MAX_EXAMPLES} pairs of texts, of {MAX_JSON_CHARS:,} characters in all."
        raise InputError(sentence, "")
    return tuple(pair for pair in pairs if pair.user.strip() and pair.assistant.strip())


def as_text(value: object) -> str:
    """A value of a setting as the text of a form, from which it can be read again."""
    match value:
        case None | ():
            return ""
        case bool():
            return "on" if value else "off"
        case tuple() | list():
            items = [asdict(item) if isinstance(item, Example) else item for item in value]
            lines = "\n".join(map(str, items))
            is_lines = lines.splitlines() == items and all(map(str.strip, items)) and not lines.lstrip().startswith("[")
            return lines if is_lines else _json(items)
        case dict():
            return _json(value)
        case float():
            return str(value).removesuffix(".0")
    return str(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _json_object(label: str, text: str) -> JsonObject | None:
    if not text.strip():
        return None
    if len(text) > MAX_JSON_CHARS:
        raise InputError(f"{label} must have at most {MAX_JSON_CHARS:,} characters, not {len(text):,}.", "")
    try:
        value = from_json(text.encode(), allow_inf_nan=False)
        json.dumps(value, allow_nan=False)  # refuses 1e999
    except ValueError as error:
        raise InputError(f"{label} must be valid JSON: {as_code(str(error), 100)}.", "") from None
    if not isinstance(value, dict):
        raise InputError(f"{label} must be a JSON object.", "")
    return value
