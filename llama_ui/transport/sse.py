"""Server-sent events, decoded as they arrive: https://html.spec.whatwg.org/multipage/server-sent-events.html.

Many servers and proxies bend the format, so this decoder accepts more: JSON without `data:`, an event without a blank
line at its end, invalid UTF-8, and a body that is one JSON document, or a page.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

_BOM = b"\xef\xbb\xbf"
_SINGLE = re.compile(rb"data: \{[^\r\n]*\}\n\n")
_FIELD = re.compile(rb"[\w-]+:")  # of an event, where it is not one of the standard's


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """The data of an event: its JSON, or a text where it is none. Its name, in lower case, is usually blank."""

    name: str
    data: object


class EventDecoder:
    """Decodes the body of one response, cut anywhere."""

    def __init__(self) -> None:
        self.done = False  # the server said so with OpenAI's last event, [DONE]; it may keep the connection open
        self._rest: list[bytes] = []  # the beginning of a line
        self._after_cr = False
        self._name = ""
        self._data: list[bytes] = []  # of an event that is not complete yet
        self._last: object = None  # the data of an event whose name may still follow
        self._has_events = False
        self._other: list[bytes] = []  # lines that are no part of an event

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """Yields the events that are complete with these bytes."""
        if not (self._rest or self._data or self._name or self._after_cr) and _SINGLE.fullmatch(chunk):
            data = _json(chunk[6:])  # nearly always, it is one event, which costs less this way
            if data is not _NO_JSON:
                self._has_events = True
                yield ServerEvent("", data)
                return
        if not chunk:
            return
        if self._after_cr and chunk.startswith(b"\n"):  # the two halves of a line break
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        lines = chunk.splitlines(keepends=True)
        if not (lines and lines[0].endswith((b"\n", b"\r"))):
            self._rest += lines
            return
        lines[0] = b"".join((*self._rest, lines[0]))
        self._rest = [lines.pop()] if not lines[-1].endswith((b"\n", b"\r")) else []
        for line in lines:
            yield from self._decode(line)

    def flush(self) -> Iterator[ServerEvent]:
        """Yields what is left at the end of the body."""
        yield from self._decode(b"".join(self._rest))
        yield from self._decode(b"")
        if rest := b"\n".join(self._other).strip():
            yield ServerEvent("", _value(rest))

    def _decode(self, line: bytes) -> Iterator[ServerEvent]:
        line = line.rstrip(b"\r\n").removeprefix(_BOM)
        field, _, value = line.partition(b":")
        value = value.strip()
        if (value if field == b"data" else line).strip(b' "').upper() == b"[DONE]":
            self.done = True
        elif field == b"data":
            self._has_events = True
            yield from self._add(value)
        elif not line.strip():
            name, whole = self._name, b"\n".join(self._data)
            self._name, self._data, self._last = "", [], None
            if whole:
                yield ServerEvent(name, _value(whole))
        elif field == b"event":
            name = _text(value).lower()
            self._name = "" if name == "message" else name
            if "error" in name and self._last is not None:
                yield ServerEvent(name, self._last)
        elif field.lower() == b"error":
            yield ServerEvent("error", _value(value))
        elif not self._other and (data := _json(line.strip())) is not _NO_JSON:
            self._has_events = True
            yield ServerEvent(self._name, data)
        elif field not in (b"", b"id", b"retry") and not (self._has_events and _FIELD.match(line)):
            self._other.append(line)

    def _add(self, value: bytes) -> Iterator[ServerEvent]:
        """Adds a line of data. Where it is a whole document, its event need not wait for the blank line."""
        is_inside = bool(self._data) and self._data[0].startswith((b"{", b"["))
        if is_inside or (data := _json(value)) is _NO_JSON:
            self._data += [value] if value or self._data else []
            return
        words, self._data, self._last = b"\n".join(self._data), [], data
        if words:
            yield ServerEvent(self._name, _text(words))
        yield ServerEvent(self._name, data)


_NO_JSON = object()


def _json(data: bytes) -> object:
    """The value of JSON; `_NO_JSON` for any other bytes. Raises RecursionError."""
    try:
        return orjson.loads(data)  # far faster than `json`, but it refuses half a surrogate pair and invalid UTF-8
    except ValueError:
        pass
    try:
        return json.loads(_text(data), strict=False) if data.startswith((b"{", b"[", b'"')) else _NO_JSON
    except ValueError:
        return _NO_JSON


def _value(data: bytes) -> object:
    """The value of JSON, or else the text."""
    return _text(data) if (value := _json(data)) is _NO_JSON else value


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
