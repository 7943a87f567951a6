"""One reply, read from the body of its response: bytes -> server-sent events -> JSON -> events of the reply."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Any

import httpx

from llama_ui.core import errors
from llama_ui.core.events import Event, Finished, Reasoning, Text
from llama_ui.llama_stack.dialects import Dialect
from llama_ui.llama_stack.error_replies import RequestContext, explain_event, find_error
from llama_ui.llama_stack.exception_map import connection_lost, not_a_llama_stack, timed_out
from llama_ui.transport.deadline import Deadline
from llama_ui.transport.http import READ_SIZE
from llama_ui.transport.sse import EventDecoder, ServerEvent

USAGE_TIMEOUT = 2.0  # seconds that a stream may stay open after its finish reason, for the usage


class ReplyReader:
    """Reads one response with status 200, whatever it calls its content."""

    def __init__(self, response: httpx.Response, dialect: Dialect, request: RequestContext) -> None:
        self._response = response
        is_raw = "content-encoding" not in response.headers and not response.is_stream_consumed
        self._body = response.aiter_raw() if is_raw else response.aiter_bytes()
        self._dialect = dialect
        self._request = request
        self._decoder = EventDecoder()
        self._finish_reason = ""
        self._is_finishing = False
        self._error: Exception | None = None  # to raise when the events before it are yielded
        self._words = ""  # what came last and is no JSON
        self._has_deltas = False
        self._is_whole = False  # all of the reply came as one document
        self._half = ""  # of a surrogate pair, whose other half may come with the next text
        self._now = asyncio.get_running_loop().time
        self._deadline = Deadline(self._now() + request.timeout)

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yields the events. Texts that arrive together are one event.

        Raises:
            ServerError: The reply failed, or nothing more of it came in time.
            httpx.TransportError: The connection failed.
        """
        ended = False
        try:
            while not ended:
                events, ended = await self._next()
                for event in events:
                    yield event
                if self._error:
                    raise self._error
        finally:
            self._deadline.close()

    async def _next(self) -> tuple[list[Event], bool]:
        """The next events, and whether they are the last. Bytes without events, such as pings, do not count."""
        try:
            while not self._decoder.done and (chunk := await self._deadline.wait(anext(self._body, None))) is not None:
                events = self._merge(self._decoder.feed(chunk), caught_up=len(chunk) < READ_SIZE)
                if events or self._error:
                    return events, False
        except (TimeoutError, httpx.TransportError) as failure:
            error: Exception | None = timed_out(self._request) if isinstance(failure, TimeoutError) else failure
        else:
            error = None
        events = self._merge(self._decoder.flush(), caught_up=False)
        if self._half:
            events.append(Text("\ufffd"))
        if not self._finish_reason:  # else all of the reply has arrived
            is_cut_off = error and isinstance(self._error, errors.NotALlamaStack)  # the rest of one JSON is missing
            self._error = self._unfinished(error) if is_cut_off else self._error or self._unfinished(error)
        return events, True

    def _unfinished(self, error: Exception | None) -> Exception | None:
        """The error for a body that ended without a finish reason, or failed, if that was no end of a reply."""
        headers, request = self._response.headers, self._request
        is_page = self._words.lstrip().startswith("<")
        if self._words and not self._decoder.done and (request.has_content or not is_page):
            return explain_event(None, self._words, request)
        if error:
            return error
        if is_page or not (request.has_content or "event-stream" in headers.get("content-type", "")):
            return not_a_llama_stack(request)
        # Where only the end of the connection ends the body, it may have been cut off.
        is_delimited = self._decoder.done or self._is_whole or {"transfer-encoding", "content-length"} & headers.keys()
        return None if is_delimited else connection_lost(request)

    def _merge(self, server_events: Iterable[ServerEvent], caught_up: bool) -> list[Event]:
        """The events of some server events, with adjacent texts joined. `caught_up`: whether no more have arrived."""
        events: list[Event] = []
        try:
            for event in self._events(server_events):
                if events and isinstance(event, Text | Reasoning) and type(event) is type(events[-1]):
                    events[-1] = type(event)(events[-1].text + event.text)
                else:
                    events.append(event)
        except errors.ServerError as error:
            self._error = error
        if caught_up and events and isinstance(last := events[-1], Text | Reasoning):
            events[-1] = type(last)(last.text, caught_up=True)
        if self._finish_reason and not self._is_finishing:
            self._is_finishing = True
            self._deadline.move(self._now() + min(USAGE_TIMEOUT, self._request.timeout))
        elif not self._is_finishing and any(isinstance(event, Text | Reasoning) for event in events):
            self._deadline.move(self._now() + self._request.timeout)
        return events

    def _events(self, server_events: Iterable[ServerEvent]) -> Iterator[Event]:
        for server_event in server_events:
            name, data = server_event.name, server_event.data
            if name and re.search("error|exception|fail", name):
                raise explain_event(data, "" if data is None else str(data), self._request)
            for chunk in data if isinstance(data, list) else [data]:
                if isinstance(chunk, dict):
                    self._words = ""
                    yield from self._chunk_events(chunk, name)
                elif self._finish_reason or not isinstance(chunk, str):
                    continue
                elif chunk.startswith(("{", "[{")):
                    raise not_a_llama_stack(self._request)
                elif not name:
                    self._words = (self._words + chunk)[:10_000]

    def _chunk_events(self, chunk: dict[str, Any], name: str) -> Iterator[Event]:
        self._is_whole = _is_whole(chunk)
        for event in self._dialect.events(chunk):
            match event:
                case Text() | Reasoning():
                    # Some servers send the whole message once more after the deltas.
                    if (self._is_whole and self._has_deltas) or not (text := self._whole_characters(event.text)):
                        continue
                    event = type(event)(text)
                    self._has_deltas = self._has_deltas or not self._is_whole
                case Finished(reason):
                    # Some servers send the word null in each chunk, and others end a tool call with "stop".
                    if reason.lower() in ("null", "none") or self._finish_reason == "tool_calls":
                        continue
                    self._finish_reason = reason.encode(errors="replace").decode()[:100]
                    event = Finished(self._finish_reason)
            self._request.has_content = True
            yield event
        if error := find_error(chunk, is_named=bool(name)):
            raise explain_event(error, str(error), self._request)

    def _whole_characters(self, text: str) -> str:
        """The text with what is left of the one before; half an emoji, which no page can show, becomes "�"."""
        text, self._half = self._half + text, ""
        if text.isascii():
            return text
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_whole(chunk: Mapping[str, object]) -> bool:
    """Whether a chunk has a whole message, or a part of one that the server calls `message`."""
    match chunk:
        case {"completion_message": _}:
            return True
        case {"choices": [{"message": _, **choice}]}:
            return not choice.get("delta")
    return False
