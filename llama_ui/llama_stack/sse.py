"""Server-sent events, decoded as they arrive: https://html.spec.whatwg.org/multipage/server-sent-events.html.

Many servers and proxies bend the format, so this decoder accepts more: JSON without `data:`, an event without a blank
line at its end, invalid UTF-8, and a body that is one JSON document, or a page.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

DONE = b"[DONE]"  # OpenAI's last event
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """The data of an event: its JSON, or a text where it is none. Its name is usually blank."""

    name: str
    data: object


class EventDecoder:
    """Decodes the body of one response, cut anywhere."""

    def __init__(self) -> None:
        self.done = False  # the server said so; it may keep the connection open
        self._rest = b""  # the beginning of a line
        self._after_cr = False
        self._name = ""
        self._data = b""  # of an event whose JSON is not complete yet
        self._other: list[bytes] = []  # lines that are no part of an event

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """Yields the events that are complete with these bytes."""
        if self._after_cr and chunk.startswith(b"\n"):  # the two halves of a line break
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        lines = (self._rest + chunk).splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
        for line in lines:
            yield from self._decode(line)

    def flush(self) -> Iterator[ServerEvent]:
        """Yields what is left at the end of the body."""
        yield from self._decode(self._rest)
        yield from self._decode(b"")
        if rest := b"\n".join(self._other).strip():
            yield ServerEvent("", _text(rest) if (value := _json(rest)) is _NO_JSON else value)

    def _decode(self, line: bytes) -> Iterator[ServerEvent]:
        line = line.rstrip(b"\r\n").removeprefix(_BOM)
        field, _, value = line.partition(b":")
        value = value.strip()
        if field == b"data":
            self._data += b"\n" + value if self._data else value
            if self._data == DONE:
                self.done, self._data = True, b""
            elif (data := _json(self._data)) is not _NO_JSON:  # need not wait for the blank line
                self._data = b""
                yield ServerEvent(self._name, data)
        elif not line.strip():
            if self._data:
                yield ServerEvent(self._name, _text(self._data))
            self._name, self._data = "", b""
        elif field == b"event":
            self._name = _text(value)
        elif field == b"error":
            yield ServerEvent("error", _text(value) if (data := _json(value)) is _NO_JSON else data)
        elif not self._other and (data := _json(line.strip())) is not _NO_JSON:
            yield ServerEvent(self._name, data)
        elif field not in (b"", b"id", b"retry"):
            self._other.append(line)


_NO_JSON = object()


def _json(data: bytes) -> object:
    """The value of JSON; `_NO_JSON` for any other bytes. Raises RecursionError."""
    try:
        return orjson.loads(data)  # far faster than `json`, but it refuses half a surrogate pair and invalid UTF-8
    except ValueError:
        pass
    try:
        return json.loads(_text(data)) if data.startswith((b"{", b"[", b'"')) else _NO_JSON
    except ValueError:
        return _NO_JSON


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
