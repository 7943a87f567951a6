"""One reply, read from the body of its response: bytes -> server-sent events -> JSON -> events of the reply."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from llama_ui.core import errors
from llama_ui.core.events import Event, Finished, Reasoning, Sample, Text, Token, Tokens
from llama_ui.llama_stack.dialects import Dialect
from llama_ui.llama_stack.error_replies import RequestContext, explain_event, find_error
from llama_ui.llama_stack.exception_map import connection_lost, not_a_llama_stack, timed_out
from llama_ui.llama_stack.received import MAX_BYTES, received
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
        self._choices: dict[int, _Choice] = {}  # the replies that have begun, by their index
        self._is_finishing = False
        self._error: Exception | None = None  # to raise when the events before it are yielded
        self._tail = b""  # of the body
        self._words = ""  # what came last and is no JSON
        self._is_whole = False  # all of the reply came as one document
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
                if ended or self._error:
                    yield received(self._response, self._tail, self._request.secrets)
                if self._error:
                    raise self._error
        finally:
            self._deadline.close()

    async def _next(self) -> tuple[list[Event], bool]:
        """The next events, and whether they are the last. Bytes without events, such as pings, do not count."""
        try:
            while not self._decoder.done and (chunk := await self._deadline.wait(anext(self._body, None))) is not None:
                self._tail = (self._tail + chunk)[-MAX_BYTES - 1 :]
                events = self._merge(self._decoder.feed(chunk), caught_up=len(chunk) < READ_SIZE)
                if events or self._error:
                    return events, False
        except (TimeoutError, httpx.TransportError) as failure:
            error: Exception | None = timed_out(self._request) if isinstance(failure, TimeoutError) else failure
        else:
            error = None
        events = self._merge(self._decoder.flush(), caught_up=False)
        if any(choice.half for choice in self._choices.values()):
            events.append(Text("\ufffd"))
        if not self._has_finished:  # else all of the reply has arrived
            is_cut_off = error and isinstance(self._error, errors.NotALlamaStack)  # the rest of one JSON is missing
            self._error = self._unfinished(error) if is_cut_off else self._error or self._unfinished(error)
        return events, True

    @property
    def _has_finished(self) -> bool:
        """Whether each reply that has begun has its finish reason."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

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
        tokens: list[Token] = []
        try:
            for event in self._events(server_events):
                if isinstance(event, Tokens):
                    tokens += event.tokens
                elif events and isinstance(event, Text | Reasoning) and type(event) is type(events[-1]):
                    events[-1] = type(event)(events[-1].text + event.text)
                else:
                    events.append(event)
        except errors.ServerError as error:
            self._error = error
        if caught_up and events and isinstance(last := events[-1], Text | Reasoning):
            events[-1] = type(last)(last.text, caught_up=True)
        was_finishing, self._is_finishing = self._is_finishing, self._has_finished
        if self._is_finishing and not was_finishing:
            self._deadline.move(self._now() + min(USAGE_TIMEOUT, self._request.timeout))
        elif not self._is_finishing and any(isinstance(event, Text | Reasoning | Sample) for event in events):
            self._deadline.move(self._now() + self._request.timeout)
        return [Tokens(tuple(tokens)), *events] if tokens else events

    def _events(self, server_events: Iterable[ServerEvent]) -> Iterator[Event]:
        for server_event in server_events:
            name, data = server_event.name, server_event.data
            if name and re.search("error|exception|fail", name):
                raise explain_event(data, "" if data is None else str(data), self._request)
            for chunk in data if isinstance(data, list) else [data]:
                if isinstance(chunk, dict):
                    self._words = ""
                    yield from self._chunk_events(chunk, name)
                elif self._has_finished or not isinstance(chunk, str):
                    continue
                elif chunk.startswith(("{", "[{")):
                    raise not_a_llama_stack(self._request)
                elif not name:
                    self._words = (self._words + chunk)[:10_000]

    def _chunk_events(self, chunk: dict[str, Any], name: str) -> Iterator[Event]:
        self._is_whole = _is_whole(chunk)
        for event in self._dialect.events(chunk):
            index, inner = (event.index, event.event) if isinstance(event, Sample) else (0, event)
            if isinstance(inner, Text | Reasoning | Finished):
                changed = self._choices.setdefault(index, _Choice()).add(inner, self._is_whole)
                if changed is None:
                    continue
                event = Sample(index, changed) if index else changed
            self._request.has_content = True
            yield event
        if error := find_error(chunk, is_named=bool(name)):
            raise explain_event(error, str(error), self._request)


@dataclass
class _Choice:
    """What has come of one reply."""

    finish_reason: str = ""
    has_deltas: bool = False
    half: str = ""  # of a surrogate pair, whose other half may come with the next text

    def add(self, event: Text | Reasoning | Finished, is_whole: bool) -> Text | Reasoning | Finished | None:
        """The event as it is passed on, or None."""
        if isinstance(event, Finished):
            # Some servers send the word null in each chunk, and others end a tool call with "stop".
            if event.finish_reason.lower() in ("null", "none") or self.finish_reason == "tool_calls":
                return None
            self.finish_reason = event.finish_reason.encode(errors="replace").decode()[:100]
            return Finished(self.finish_reason)
        # Some servers send the whole message once more after the deltas.
        if (is_whole and self.has_deltas) or not (text := self._whole_characters(event.text)):
            return None
        self.has_deltas = self.has_deltas or not is_whole
        return type(event)(text)

    def _whole_characters(self, text: str) -> str:
        """The text with what is left of the one before; half an emoji, which no page can show, becomes "�"."""
        text, self.half = self.half + text, ""
        if text.isascii():
            return text
        if "\ud800" <= text[-1] <= "\udbff":
            text, self.half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_whole(chunk: Mapping[str, object]) -> bool:
    """Whether a chunk has a whole message, or a part of one that the server calls `message`."""
    match chunk:
        case {"completion_message": _}:
            return True
        case {"choices": [{"message": _, **choice}]}:
            return not choice.get("delta")
    return False
