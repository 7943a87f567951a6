"""What came back, for people: the headers of a response and the end of its body, without secrets."""

import re
from collections.abc import Sequence

import httpx

from llama_ui.core.events import Received
from llama_ui.core.text import without_secrets

MAX_BYTES = 8_000  # of a body, from its end
MAX_HEADERS, MAX_HEADER_CHARS = 50, 300
_SECRET = re.compile(r"(?i)^(?!x-ratelimit).*(cookie|auth|token|key|secret|session|organization)")


def received(response: httpx.Response, body: bytes, secrets: Sequence[str]) -> Received:
    """What came back in a response. `body` is the end of its body, or all of it."""
    text = body[-MAX_BYTES:].decode(errors="replace")
    if len(body) > MAX_BYTES and "\n" in text:
        text = text[text.index("\n") + 1 :]  # a whole line is the first one
    names = [name for name in response.headers if not _SECRET.search(name)][:MAX_HEADERS]
    headers = ((name, without_secrets(response.headers[name], secrets)[:MAX_HEADER_CHARS]) for name in names)
    return Received(response.status_code, tuple(headers), without_secrets(text, secrets))
