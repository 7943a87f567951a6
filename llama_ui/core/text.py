"""Foreign text made safe to show: as Markdown code, and without keys and file paths."""

import html
import re
from collections.abc import Sequence

# Longer texts are cut before any pattern sees them.
MAX_LENGTH = 10_000
# What no visitor may read in a server's words, and what to show in its place. Routes (/v1/...) are left.
_REDACTIONS = [
    # user:password@ in an address
    (r"//[^/\s@]+@", "//[key]@"),
    # "Bearer abc...", but not "Bearer authentication required"
    (r"(?i)\b(bearer|basic)\s+(?!auth|token|scheme|function|knowledge)[\w.~+/=-]{8,}", r"\1 [key]"),
    # "token ab12...", with letters and digits
    (r"(?i)\b(token)\s+(?=[\w.-]*\d)(?=[\w.-]*[a-z])[\w.~+/=-]{8,}", r"\1 [key]"),
    # what begins as the keys of well-known services do
    (r"\b(?:(?:sk|pk|gsk|nvapi|xai|fw|tgp|csk)[-_]|hf_|gh[a-z]_|github_pat_|AIza|AKIA)[\w*.-]{4,}", "[key]"),
    # a JSON Web Token
    (r"\beyJ[\w-]+\.[\w.-]+", "[key]"),
    # "api_key=...", "password: ...", "?key=...", but not "token: 8192"
    (
        r"(?i)((?:\b(?:api[\s_-]?key|token|secret|password)(?:\s+provided)?['\"]?\s*[:=]|[?&]\w*key=)\s*['\"]?)"
        r"(?!\d{1,7}(?![\w-]))[\w*.~+/=-]{4,}",
        r"\1[key]",
    ),
    # file:// addresses; paths of Windows; paths of two parts or more, except routes; directories of the system
    (
        r"(?i)\bfile://\S+|\b[a-z]:\\[^\s'\"]+|\\\\[^\s'\"]+"
        r"|(?<![\w/.-])(?:~|\.{1,2}(?:/\.\.)*)?/(?!v\d)[\w.@+-]+(?:/[\w.@+-]+)+/?"
        r"|(?<![\w/.-])/(?:root|home|etc|usr|var|tmp|opt|srv|mnt|data)\b",
        "[path]",
    ),
]


def as_code(text: str, limit: int = 300) -> str:
    """Any text as one line of Markdown code, cut after `limit` characters, so that nothing in it is rendered."""
    printable = "".join(char if char.isprintable() else " " for char in text[:MAX_LENGTH].replace("`", "'"))
    line = " ".join(printable.split())
    return f"`{line[:limit]}…`" if len(line) > limit else f"`{line or '(no text)'}`"


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """The text with "[key]" in place of each secret."""
    for secret in secrets:
        for form in (secret, html.escape(secret)):
            text = re.sub(re.escape(form), "[key]", text, flags=re.IGNORECASE)
    return text


def quote(text: str, secrets: Sequence[str] = ()) -> str:
    """A server's own words as Markdown code, without file paths, keys, the `secrets` in use, and a full stop."""
    text = without_secrets(text[:MAX_LENGTH], secrets)
    for pattern, replacement in _REDACTIONS:
        text = re.sub(pattern, replacement, text)
    return as_code(re.sub(r"[.\s]+$", "", text))
