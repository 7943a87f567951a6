"""What can go wrong, each as one plain sentence and one fix.

ChatError
├── InputError           what a person entered is blank, too long or out of range; nothing was sent
├── NoServer             none is configured, found or to be started
├── LocalStackError      the local demonstration stack cannot be made ready
├── RateLimited          a visitor has had what one may have for now
├── Restarting           the app is told to end, and takes no more messages
├── InternalError        a defect of this app; the log has it under an id
└── ServerError
    ├── Unreachable
    │   ├── NameNotFound   the address has a name that nobody knows
    │   ├── NotListening   nothing listens there, or it does not take the connection in time
    │   ├── TLSMismatch    https where there is none, or a certificate that cannot be trusted
    │   └── NoAnswer       the connection was closed, or something else than HTTP came back
    ├── ConnectionLost   in mid-reply
    ├── TimedOut         no answer, no first token, or no next one in time
    ├── AuthFailed       401, 403
    ├── UnknownModel     404 that names a model
    ├── NotALlamaStack   any other 404: no Llama Stack, or /v1 too much in the address
    ├── Busy             408, 429
    ├── TooLong          400: more tokens than the model takes
    └── BadReply         every other answer that is no reply
        └── ContentFiltered  a content filter withholds the reply

`llama_stack/exception_map.py` has the table from what the client library and httpx raise to these.
"""

import html
import re


class ChatError(Exception):
    """A failure that a person is told about: what happened, and what to do about it."""

    def __init__(self, sentence: str, fix: str) -> None:
        super().__init__(f"{sentence} {fix}".strip())
        self.sentence = sentence
        self.fix = fix


class InputError(ChatError):
    """What a person entered cannot be sent."""


class NoServer(ChatError):
    """There is no server to talk to."""


class LocalStackError(ChatError):
    """The local stack cannot be made ready."""


class RateLimited(ChatError):
    """A visitor has had what one may have for now."""


class Restarting(ChatError):
    """The app is about to end."""


class InternalError(ChatError):
    """A defect of this app."""


class ServerError(ChatError):
    """The Llama Stack server did not answer as it should."""


class Unreachable(ServerError):
    """No connection to the server."""


class NameNotFound(Unreachable):
    """Nobody knows the host's name."""


class NotListening(Unreachable):
    """Nothing takes the connection."""


class TLSMismatch(Unreachable):
    """No encrypted connection can be made."""


class NoAnswer(Unreachable):
    """Connected, but what came back was no HTTP answer."""


class ConnectionLost(ServerError):
    """The connection ended before the reply did."""


class TimedOut(ServerError):
    """The server took too long."""


class AuthFailed(ServerError):
    """The server wants another key."""


class UnknownModel(ServerError):
    """The server does not have the model."""


class NotALlamaStack(ServerError):
    """Something answers at the address, but has no such route."""


class Busy(ServerError):
    """The server has too much to do."""


class TooLong(ServerError):
    """The conversation has more tokens than the model takes."""


class BadReply(ServerError):
    """Any other answer that is no reply."""


class ContentFiltered(BadReply):
    """The server, or the engine behind it, withholds the reply."""

    def __init__(self) -> None:
        super().__init__("A content filter stopped the reply.", "Put the message in other words.")


# What no visitor may read in a server's own words: keys, and paths of its files. Routes (/v1/...) are left.
_SECRETS = [
    (re.compile(r"//[^/\s@]+@"), "//[key]@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+(?!auth|token|scheme|function|knowledge)[\w.~+/=-]{8,}"), r"\1 [key]"),
    (re.compile(r"(?i)\b(token)\s+(?=[\w.-]*\d)(?=[\w.-]*[a-z])[\w.~+/=-]{8,}"), r"\1 [key]"),
    (
        re.compile(r"\b(?:(?:sk|pk|gsk|nvapi|xai|fw|tgp|csk)[-_]|hf_|gh[a-z]_|github_pat_|AIza|AKIA)[\w*.-]{4,}"),
        "[key]",
    ),
    (re.compile(r"\beyJ[\w-]+\.[\w.-]+"), "[key]"),
    (
        re.compile(
            r"(?i)((?:\b(?:api[\s_-]?key|token|secret|password)(?:\s+provided)?['\"]?\s*[:=]|[?&]\w*key=)\s*['\"]?)"
            r"(?!\d{1,7}(?![\w-]))[\w*.~+/=-]{4,}"
        ),
        r"\1[key]",
    ),
    (
        re.compile(
            r"(?i)\bfile://\S+|\b[a-z]:\\[^\s'\"]+|\\\\[^\s'\"]+"
            r"|(?<![\w/.-])(?:~|\.{1,2}(?:/\.\.)*)?/(?!v\d)[\w.@+-]+(?:/[\w.@+-]+)+/?"
            r"|(?<![\w/.-])/(?:root|home|etc|usr|var|tmp|opt|srv|mnt|data)\b"
        ),
        "[path]",
    ),
]


def as_code(text: str, limit: int = 300) -> str:
    """Any text as Markdown code, so that nothing in it is rendered: one printable line, at most `limit` long."""
    shown = "".join(char if char.isprintable() else " " for char in text[:10_000].replace("`", "'"))
    line = " ".join(shown.split())
    return f"`{line[:limit]}…`" if len(line) > limit else f"`{line or '(no text)'}`"


def quoted(text: str, key: str | None = None) -> str:
    """A server's own words as Markdown code, without the keys and file paths in them; `key` is the one in use."""
    text = text[:10_000]
    for form in filter(None, {key, html.escape(key)} if key else ()):
        text = re.sub(re.escape(form), "[key]", text, flags=re.IGNORECASE)
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    return as_code(text)
