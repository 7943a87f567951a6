"""Every form in which servers send a reply, or an error in it, is shown as what it is: on a real socket."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import cast

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import BadReply, Busy, ConnectionLost, ContentFiltered, NotALlamaStack, TimedOut, TooLong
from llama_ui.core.events import Finished, Text
from llama_ui.core.messages import Image, Message, SamplingOptions
from llama_ui.core.reply import respond
from llama_ui.llama_stack import reader
from llama_ui.llama_stack.client import LlamaStackClient
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS
from llama_ui.llama_stack.error_replies import RequestContext
from llama_ui.llama_stack.reader import ReplyReader
from llama_ui.transport.sse import EventDecoder
from tests.support import SECONDS
from tests.support.fake_stack import MODEL, FakeStack, Hold
from tests.support.raw_stack import SSE, Answer, RawStack, raw_stack

pytestmark = pytest.mark.loopback
MESSAGES = [Message("user", "Hi.")]
PICTURE = [Message("user", "Look.", (Image("image/png", "aWNvbg=="),))]


def event(chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def delta(**fields: object) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


def end(reason: str | None = "stop") -> bytes:
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


def message(**fields: object) -> bytes:
    return json.dumps({"choices": [{"message": fields, "finish_reason": "stop"}]}, indent=2).encode()


HELLO = delta(content="Hel") + delta(content="lo.")
DONE = b"data: [DONE]\n\n"


async def reply_of(
    stack: RawStack,
    messages: list[Message] = MESSAGES,
    options: SamplingOptions = SamplingOptions(),  # noqa: B008
    longest: float = 60.0,
) -> Reply:
    """The last snapshot of a reply."""
    client = LlamaStackClient(stack.url, timeout=longest)
    replies = [reply async for reply in respond(client.stream, "m", messages, options)]
    await client.aclose()
    return replies[-1]


async def reply_to(*parts: bytes, **details: object) -> Reply:
    async with raw_stack(Answer(parts, **details)) as stack:  # type: ignore[arg-type] # the fields of Answer
        return await reply_of(stack)


WHOLE = {
    "retry": (b"retry: 3000\n\n", HELLO, end()),
    "an event with empty data": (b"data:\n\ndata: \n\n", HELLO, end()),
    "an event without data": (b"event: ping\n\n", HELLO, end()),
    "a comment after an id": (b"id: 1\n: hello\n\n", HELLO, end()),
    "a byte order mark": (b"\xef\xbb\xbf" + HELLO, end()),
    "a byte order mark in two parts": (b"\xef", b"\xbb\xbf" + HELLO, end()),
    "a last chunk without its blank line": (HELLO, end().rstrip()),
    "CRLF": ((HELLO + end()).replace(b"\n", b"\r\n"),),
    "CR": ((HELLO + end()).replace(b"\n", b"\r"),),
    "CRLF cut in two": (HELLO.replace(b"\n", b"\r"), b"\n", end()),
    "data in several lines": (b"event: message\n" + HELLO.replace(b'"index"', b'\ndata: "index"'), end()),
    "no space after the colon": ((HELLO + end()).replace(b"data: ", b"data:"),),
    "pings with names and words": (
        b"event: ping\ndata: ping\n\n",
        HELLO,
        b'event: ping\ndata: {"type": "ping"}\n\n',
        end(),
    ),
    "JSON lines": ((HELLO + end()).replace(b"data: ", b"").replace(b"\n\n", b"\n"),),
    "an array of chunks": (b"[" + b",\n".join((HELLO + end()).replace(b"data: ", b"").split(b"\n\n")[:-1]) + b"]",),
    "each byte by itself": tuple(bytes([byte]) for byte in HELLO + end() + DONE),
    "messages in place of deltas": ((HELLO + end()).replace(b"delta", b"message"),),
    "one completion": (message(role="assistant", content="Hello."),),
    "content in parts": (delta(content=[{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo."}]), end()),
    "deltas, and then the whole message": (HELLO, b"data: " + message(content="Hello.").replace(b"\n", b"") + b"\n\n"),
    "the word null as finish reason": (HELLO.replace(b"null", b'"null"'), end()),
    "errors that are null": (HELLO.replace(b'"choices"', b'"error": null, "choices"'), end()),
    "errors that are blank": (HELLO.replace(b'"choices"', b'"error": {"code": 0, "message": ""}, "choices"'), end()),
    "one delta, and then the whole message": (delta(content="Hello."), message(content="Hello.")),
    "a role beside a message": (
        message(content="Hello.").replace(b'"finish', b'"delta": {"role": "assistant"}, "finish'),
    ),
    "a delta that is a text": (event({"choices": [{"delta": "Hello."}]}), end()),
    "JSON lines with a last word": ((HELLO + end()).replace(b"data: ", b"").replace(b"\n\n", b"\n") + b"[DONE]\n",),
    "another last word": (HELLO, end(), b'data: "[done]"\n\n'),
    "usage that is cut off": (HELLO, end(), b'data: {"choices": [], "usage": {"prom'),
    "an unknown field": (b"foo: bar\n", HELLO, b"foo: bar\n\n", end()),
    "a word without a blank line": (b"data: ping\n" + HELLO, b"data: ping\n" + end()),
    "events about other things": (
        b'event: ping\ndata: {"message": "alive"}\n\ndata: {"type": "status", "message": "loading"}\n\n',
        HELLO,
        end(),
        b'data: {"object": "metadata", "detail": "cost 0.01"}\n\n',
    ),
    "a tab in a text": (HELLO.replace(b'"index"', b'"note": "a\tb", "index"'), end()),
}


@pytest.mark.parametrize("parts", WHOLE.values(), ids=WHOLE)
async def test_a_whole_reply_in_any_form_is_shown_without_a_note(parts: tuple[bytes, ...]) -> None:
    reply = await reply_to(*parts)
    assert (reply.text, reply.reasoning, reply.ending, reply.error) == ("Hello.", "", "", None)
    assert reply.stats.finish_reason == "stop"


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/x-ndjson", ""])
async def test_the_content_type_does_not_matter(kind: str) -> None:
    reply = await reply_to(HELLO, end(), headers={"content-type": kind})
    assert (reply.text, reply.error) == ("Hello.", None)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((delta(content="a") + end()).replace(b'"a"', b'"a\xffb"'), "a\ufffdb"),
        (delta(content="\ud83e") + delta(content="\udd99") + end(), "🦙"),
        (delta(content="a\ud83e") + end(), "a\ufffd"),
        ("data: 🦙 \n\n".encode() + delta(content="🦙") + end(), "🦙"),
    ],
    ids=["invalid UTF-8", "an emoji in two halves", "half an emoji", "stray words"],
)
async def test_a_character_that_is_broken_or_cut_does_not_spoil_the_reply(parts: bytes, text: str) -> None:
    for cut in range(0, len(parts), 7):
        reply = await reply_to(parts[:cut], parts[cut:])
        assert (reply.text, reply.error) == (text, None)


async def test_a_compressed_reply_is_read_though_an_uncompressed_one_is_asked_for() -> None:
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    async with raw_stack(Answer((gzip.compress(HELLO + end()),), headers=headers)) as stack:
        assert (await reply_of(stack)).text == "Hello."
        assert [request.headers["accept-encoding"] for request in stack.posts] == ["identity"]


async def test_a_word_after_the_deltas_is_no_error_where_the_server_says_that_it_is_done() -> None:
    reply = await reply_to(HELLO, b"data: ping\n\n", DONE)
    assert reply.error is None and "without a reason" in reply.ending


THOUGHTS = {
    "a field of their own": delta(reasoning_content="Hm.") + HELLO,
    "in parts": delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]) + HELLO,
    "in brackets": delta(content="[THI") + delta(content="NK]Hm.[/THINK]") + HELLO,
    "in upper case": delta(content="<THINK>Hm.</THINK>\n\n") + HELLO,
    "another word": delta(content="<thinking>\nHm.\n</thinking>\n") + HELLO,
    "another word at the end": delta(content="<thinking>Hm.</think>\n") + HELLO,
    "without the opening tag": delta(content="Hm.</think>\n\n") + HELLO,
    "Gemma": delta(content="<|channel>thought\nHm.\n<channel|>") + HELLO,
    "harmony without a last channel": delta(content="<|channel|>analysis<|message|>Hm.<|end|>") + HELLO,
    "harmony with a format": delta(
        content="<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final "
    )
    + delta(content="<|constrain|>json<|message|>")
    + HELLO,
    "Kimi": delta(content="◁think▷Hm.◁/think▷") + HELLO,
    "harmony": delta(content="<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|chan")
    + delta(content="nel|>final<|message|>")
    + HELLO
    + delta(content="<|return|>"),
}


@pytest.mark.parametrize("chunks", THOUGHTS.values(), ids=THOUGHTS)
async def test_thoughts_in_any_form_are_shown_as_such(chunks: bytes) -> None:
    reply = await reply_to(chunks, end())
    assert (reply.reasoning, reply.text, reply.error) == ("Hm.", "Hello.", None)


FAILURES: dict[str, tuple[bytes, type[Exception], str]] = {
    "a line of its own": (b'error: {"message": "Out of memory", "code": 503}\n\n', BadReply, "(503): `Out of memory`."),
    "a bare object": (b'{"error": {"message": "Out of memory."}}\n', BadReply, "`Out of memory`."),
    "a bare object in data": (b'data: {"error": "Out of memory."}\n\n', BadReply, "`Out of memory`."),
    "words in an event": (b"event: error\ndata: Out of memory.\n\n", BadReply, "`Out of memory`."),
    "words in JSON": (b'event: error\ndata: "Out of memory."\n\n', BadReply, "`Out of memory`."),
    "words alone": (b"upstream connect error", BadReply, "`upstream connect error`."),
    "words in data": (b"data: upstream connect error\n\n", BadReply, "`upstream connect error`."),
    "in a choice": (
        event({"choices": [{"delta": {}, "error": {"message": "Out of memory."}, "finish_reason": "error"}]}),
        BadReply,
        "`Out of memory`.",
    ),
    "beside choices": (
        event({"choices": [], "error": {"message": "Slow down.", "code": 429}}),
        Busy,
        "(429): `Slow down`.",
    ),
    "a code as text": (event({"error": {"message": "Slow down.", "code": "429"}}), Busy, "(429): `Slow down`."),
    "a flag": (event({"error": True, "message": "Out of memory."}), BadReply, "`Out of memory`."),
    "an event in capitals": (b"event: ERROR\ndata: Out of memory.\n\n", BadReply, "`Out of memory`."),
    "an exception": (b"event: exception\ndata: Out of memory.\n\n", BadReply, "`Out of memory`."),
    "the name of the event at its end": (b'data: {"info": 1, "message": "Out."}\nevent: error\n\n', BadReply, "`Out`."),
    "nothing in an event": (b"event: error\ndata: null\n\n", BadReply, "`(no text)`."),
    "a problem": (b'data: {"title": "Out of memory.", "status": 500}\n\n', BadReply, "`Out of memory`."),
    "in a delta": (delta(error={"message": "Out of memory."}), BadReply, "`Out of memory`."),
    "words in brackets": (b"data: [ERROR] Out of memory.\n\n", BadReply, "`[ERROR] Out of memory`."),
    "JSON that is cut off": (b'data: {"choices": [\n\n', BadReply, "what came next cannot be read."),
    "the reason error": (end("error"), BadReply, "broke the reply off (`error`)."),
    "the reason abort": (end("abort"), BadReply, "broke the reply off (`abort`)."),
    "the reason SAFETY": (end("SAFETY"), ContentFiltered, "A content filter stopped the reply."),
    "a tool call": (end("tool_calls"), BadReply, "tried to call a tool"),
    "a tool call that ends with stop": (
        delta(tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]) + end("stop"),
        BadReply,
        "tried to call a tool",
    ),
}


@pytest.mark.parametrize(("chunk", "kind", "sentence"), FAILURES.values(), ids=FAILURES)
async def test_an_error_in_any_form_is_told_in_the_servers_words_and_the_reply_is_kept(
    chunk: bytes, kind: type[Exception], sentence: str
) -> None:
    for parts in ((HELLO + chunk,), (HELLO, chunk)):
        reply = await reply_to(*parts)
        assert reply.text == "Hello."
        assert type(reply.error) is kind and sentence in reply.error.sentence
    assert isinstance((await reply_to(chunk)).error, kind) or chunk.startswith(b"data: {")


async def test_an_error_ends_the_reply_at_once_whatever_the_server_sends_then() -> None:
    error = b"event: error\ndata: Out of memory.\n\n"
    for parts in (
        (HELLO, error),
        (HELLO, error, delta(content="more"), DONE),
        (HELLO, error, error.replace(b"Out", b"In")),
    ):
        async with raw_stack(Answer(parts, stays_open=True)) as stack:
            reply = await reply_of(stack)
            assert (reply.text, str(reply.error)) == (
                "Hello.",
                "The server broke off with an error: `Out of memory`. Try again.",
            )


@pytest.mark.parametrize(
    "page",
    ["<?xml version='1'?><h1>Out</h1>", "<!-- a --><body><h2><b>Out</b></h2>", "\ufeff<p><title></title><h1>Out</h1>"],
)
async def test_the_title_of_any_page_is_told(page: str) -> None:
    async with raw_stack(Answer((page.encode(),), "502 X", {"content-type": "text/html"})) as stack:
        assert "(502): `Out`." in str((await reply_of(stack)).error)


FAILING = [
    "insufficient_system_resource",
    "engine_overloaded",
    "out_of_memory",
    "RESOURCE_EXHAUSTED",
    "exception",
    "timeout",
]


@pytest.mark.parametrize("reason", FAILING)
async def test_a_failure_has_many_names(reason: str) -> None:
    assert "broke the reply off" in str((await reply_to(HELLO, end(reason))).error)


async def test_a_finish_reason_that_no_page_can_show_is_made_safe() -> None:
    reply = await reply_to(HELLO, end("\ud83e" + "x" * 1000))
    assert reply.stats.finish_reason == "?" + "x" * 99


@pytest.mark.parametrize(
    "reason", ["length", "max_tokens", "MAX_TOKENS", "model_length", "out_of_tokens", "model_context_window_exceeded"]
)
async def test_the_token_limit_has_many_names(reason: str) -> None:
    assert "token limit" in (await reply_to(HELLO, end(reason))).ending


@pytest.mark.parametrize("reason", ["stop", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE"])
async def test_an_ordinary_end_has_many_names(reason: str) -> None:
    reply = await reply_to(HELLO, end(reason))
    assert (reply.ending, reply.error) == ("", None)


async def test_a_reply_that_ends_without_a_reason_says_so() -> None:
    reply = await reply_to(HELLO, DONE)
    assert (reply.text, reply.error) == ("Hello.", None)
    assert reply.ending == "The server ended the reply without a reason; it may not be complete."


@pytest.mark.parametrize("body", [b"<!doctype html><title>Router</title>", b"{}", b"null", b'{"hello": 1}'])
async def test_another_kind_of_answer_is_told(body: bytes) -> None:
    assert isinstance((await reply_to(body, headers={"content-type": "text/html"})).error, NotALlamaStack)


# Time


async def test_pings_are_no_sign_of_life() -> None:
    ping = b": ping\n\n" + event({"choices": []})
    async with raw_stack(Answer((HELLO, *[ping] * 3), stays_open=True)) as stack:
        reply = await reply_of(stack, longest=0.5)
        assert reply.text == "Hello." and isinstance(reply.error, TimedOut)
        await stack.closed.wait()


@pytest.mark.parametrize("last", [event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}), end()])
async def test_what_follows_the_finish_reason_does_not_keep_a_reply_open(
    monkeypatch: pytest.MonkeyPatch, last: bytes
) -> None:
    monkeypatch.setattr(reader, "USAGE_TIMEOUT", 0.01)
    async with raw_stack(Answer((HELLO, end(), *[last] * 10), stays_open=True)) as stack:
        assert ((reply := await reply_of(stack)).text, reply.error) == ("Hello.", None)


async def test_counts_of_tokens_are_no_sign_of_life() -> None:
    usage = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}})
    async with raw_stack(Answer((HELLO, *[usage] * 3), stays_open=True)) as stack:
        assert isinstance((await reply_of(stack, longest=0.5)).error, TimedOut)


async def test_words_before_a_silence_are_told() -> None:
    async with raw_stack(Answer((HELLO, b"upstream connect error\n"), stays_open=True)) as stack:
        assert "`upstream connect error`." in str((await reply_of(stack, longest=0.5)).error)


async def test_after_its_finish_reason_a_reply_is_whole_though_the_stream_stays_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "USAGE_TIMEOUT", 0.01)
    async with raw_stack(Answer((HELLO, end()), stays_open=True)) as stack:
        reply = await reply_of(stack)
        assert (reply.text, reply.error) == ("Hello.", None)
        await stack.closed.wait()
    async with raw_stack(Answer((HELLO, end(), DONE), stays_open=True)) as stack:
        assert (await reply_of(stack)).text == "Hello."


# Without streaming

OFF = SamplingOptions(streaming=False)
JSON = {"content-type": "application/json"}


def completion(text: str, **more: object) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 50, "total_tokens": 57}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage, **more}).encode()


LONG = "word " * 50


async def test_a_whole_reply_that_was_asked_for_has_no_note() -> None:
    async with raw_stack(Answer((completion(LONG),), headers=JSON)) as stack:
        reply, streamed = await reply_of(stack, options=OFF), await reply_of(stack)
    assert (reply.text, reply.ending, reply.error) == (LONG, "", None)
    assert (reply.stats.prompt_tokens, reply.stats.completion_tokens, reply.stats.finish_reason) == (7, 50, "stop")
    assert (reply.stats.estimated, reply.stats.tokens_per_second) == (False, None)
    assert [json.loads(post.body)["stream"] for post in stack.posts] == [False, True]
    assert "held the stream back" in streamed.ending


async def test_a_whole_reply_that_ends_otherwise_says_how() -> None:
    choice = {"message": {"role": "assistant", "content": LONG}, "finish_reason": "length"}
    async with raw_stack(Answer((completion("", choices=[choice]),), headers=JSON)) as stack:
        reply = await reply_of(stack, options=OFF)
    assert reply.text == LONG and "stopped at the token limit" in reply.ending


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer((b'{"error": {"message": "Out of memory"}}',), "500 X", JSON), BadReply),
        (Answer((b'{"error": {"message": "Out of memory"}}',), headers=JSON), BadReply),
        (Answer((b'{"error": {"message": "busy"}}',), "429 X", JSON), Busy),
        (Answer((completion("Hel")[:60],), headers=JSON, breaks=True), ConnectionLost),
        (Answer((completion(" "),), headers=JSON), BadReply),
    ],
    ids=["status", "error", "busy", "broken off", "blank"],
)
async def test_a_whole_reply_that_fails_is_an_error(answer: Answer, kind: type[Exception]) -> None:
    async with raw_stack(answer) as stack:
        reply = await reply_of(stack, options=OFF)
    assert isinstance(reply.error, kind) and not reply.text.strip(), repr(reply.error)


async def test_all_of_a_whole_reply_has_to_come_in_time() -> None:
    async with raw_stack(Answer((completion("Hel")[:60],), headers=JSON, stays_open=True)) as stack:
        reply = await reply_of(stack, options=OFF, longest=0.05)
        await stack.closed.wait()
    assert isinstance(reply.error, TimedOut)


async def test_stop_closes_the_request_for_a_whole_reply(stack: FakeStack) -> None:
    hold = Hold()
    played = stack.enqueue("Hel", hold, "lo.")
    async with aclosing(LlamaStackClient(stack.url)) as client:
        snapshots = respond(client.stream, MODEL, MESSAGES, OFF)
        first = await anext(snapshots)
        await asyncio.to_thread(hold.reached.wait, SECONDS)
        await snapshots.aclose()
        assert await asyncio.to_thread(played.ended.wait, SECONDS)
        assert first.text == "" and first.waited is not None
        assert [reply.text async for reply in respond(client.stream, MODEL, MESSAGES, OFF)][-1] == "Hello there."


async def test_a_reply_that_came_in_one_piece_has_no_speed_and_says_why() -> None:
    reply = await reply_to(b"".join(delta(content=f"word{n} ") for n in range(50)) + end())
    assert reply.stats.tokens_per_second is None
    assert "held the stream back" in reply.ending
    assert (await reply_to(HELLO + end())).ending == "", "a short reply always comes in one piece"
    hidden = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 500}})
    assert (await reply_to(HELLO + end() + hidden)).ending == "", (
        "the reasoning of some models is counted, but not sent"
    )


# Usage


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3, False)),
        ({"prompt_tokens": 7.0, "completion_tokens": 3.0}, (7, 3, False)),
        ({"input_tokens": 7, "output_tokens": 3}, (7, 3, False)),
        ({"promptTokens": "7", "completionTokens": 3}, (7, 3, False)),
        ({"prompt_eval_count": 7, "eval_count": 3}, (7, 3, False)),
        ({"prompt_tokens": 7}, (7, 2, True)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (1, 2, True)),
        ({"prompt_tokens": "many"}, (1, 2, True)),
        (None, (1, 2, True)),
    ],
)
async def test_usage_is_read_by_any_name_and_estimated_where_there_is_none(
    usage: object, tokens: tuple[int, int, bool]
) -> None:
    stats = (await reply_to(HELLO, end(), event({"choices": [], "usage": usage}))).stats
    assert (stats.prompt_tokens, stats.completion_tokens, stats.estimated) == tokens


# Requests that are refused for a field


JSON = {"content-type": "application/json"}


def refusal(words: str, status: str = "400 Bad Request") -> Answer:
    return Answer((json.dumps({"error": {"message": words}}).encode(),), status, JSON)


ANSWER = Answer((HELLO, end()))
LIMITED = SamplingOptions(max_tokens=4096, app_limit=True)
FIELDS = [
    ("Unrecognized request argument: stream_options", LIMITED, {"max_tokens"}),
    ("Unknown field: include_usage", LIMITED, {"max_tokens"}),
    ("Stream options are not supported.", LIMITED, {"max_tokens"}),
    ("Extra inputs are not permitted: max_tokens", LIMITED, {"stream_options"}),
    ("`inputs` tokens + `max_new_tokens` must be <= 2048.", LIMITED, {"stream_options"}),
    ("Unsupported 'max_tokens': use 'max_completion_tokens'.", LIMITED, {"stream_options", "max_completion_tokens"}),
    (
        "Unsupported 'max_tokens': use 'max_completion_tokens'.",
        SamplingOptions(max_tokens=5),
        {"stream_options", "max_completion_tokens"},
    ),
]


@pytest.mark.parametrize(("words", "options", "fields"), FIELDS)
@pytest.mark.parametrize("status", ["400 Bad Request", "422 Unprocessable Entity"])
async def test_without_a_field_that_the_engine_refuses_the_request_is_sent_once_more(
    words: str, options: SamplingOptions, fields: set[str], status: str
) -> None:
    async with raw_stack(refusal(words, status), ANSWER) as stack:
        client = LlamaStackClient(stack.url)
        for posts in (2, 3):  # the second reply has learned from the first
            replies = [reply async for reply in respond(client.stream, "m", MESSAGES, options)]
            assert (replies[-1].text, replies[-1].error) == ("Hello.", None)
            assert len(stack.posts) == posts
            assert json.loads(stack.posts[-1].body).keys() - {"model", "messages", "stream"} == fields
        await client.aclose()


async def test_a_conversation_that_only_the_limit_of_the_app_makes_too_long_is_sent_without_it() -> None:
    async with raw_stack(refusal("maximum context length is 4096 tokens, you requested 4200 tokens"), ANSWER) as stack:
        client = LlamaStackClient(stack.url)
        for _ in range(2):
            replies = [reply async for reply in respond(client.stream, "m", MESSAGES, LIMITED)]
            assert (replies[-1].text, replies[-1].error) == ("Hello.", None)
        assert ["max_tokens" in json.loads(request.body) for request in stack.posts] == [True, False, True]
        await client.aclose()


async def test_a_field_that_is_refused_inside_the_stream_is_left_out_as_well() -> None:
    words = "400: Error code: 400 - {'error': {'message': 'Unrecognized request argument: stream_options'}}"
    async with raw_stack(Answer((event({"error": {"message": words}}),)), ANSWER) as stack:
        assert (await reply_of(stack)).text == "Hello."
        assert len(stack.posts) == 2


async def test_on_the_legacy_route_too_only_the_apps_own_limit_is_left_out() -> None:
    chunks = [
        {"event": {"delta": {"type": "text", "text": "Hello."}}},
        {"event": {"delta": {}, "stop_reason": "end_of_turn"}},
    ]
    answers = refusal("max_tokens is too large"), Answer(tuple(map(event, chunks)))
    async with raw_stack(*answers) as stack:
        stack.pages["/v1/inspect/routes"] = Answer(
            (b'{"data": [{"route": "/v1/inference/chat-completion"}]}',), headers=JSON
        )
        reply = await reply_of(stack, options=LIMITED)
        assert (reply.text, reply.error) == ("Hello.", None)
        assert [json.loads(post.body).get("sampling_params") for post in stack.posts] == [{"max_tokens": 4096}, {}]


async def test_a_refused_message_that_is_echoed_with_its_fields_is_sent_once() -> None:
    detail = [
        {
            "loc": ["body", "messages", 0, "content"],
            "msg": "Input is bad",
            "input": {"stream_options": 1, "max_tokens": 2},
        }
    ]
    async with raw_stack(Answer((json.dumps({"detail": detail}).encode(),), "422 X", JSON), ANSWER) as stack:
        reply = await reply_of(stack, options=LIMITED)
        assert reply.refused and "`Input is bad`" in str(reply.error)
        assert len(stack.posts) == 1


async def test_a_limit_that_a_person_set_is_never_dropped() -> None:
    async with raw_stack(refusal("max_tokens: not permitted"), ANSWER) as stack:
        client = LlamaStackClient(stack.url)
        for options in (LIMITED, SamplingOptions(max_tokens=5)):
            [_ async for _ in respond(client.stream, "m", MESSAGES, options)]
        assert ["max_tokens" in json.loads(request.body) for request in stack.posts] == [True, False, True]
        await client.aclose()
    async with raw_stack(refusal("max_tokens is too large", "400 Bad Request"), ANSWER) as stack:
        reply = await reply_of(stack, options=SamplingOptions(max_tokens=9000))
        assert reply.error and "`max_tokens`" in reply.error.sentence
        assert len(stack.posts) == 1


@pytest.mark.parametrize(
    ("answer", "messages", "words"),
    [
        (refusal("System role not supported"), [Message("system", "Be brief."), *MESSAGES], "Empty the system prompt."),
        (refusal("Internal server error: ...", "500 X"), PICTURE, "The picture may be the reason"),
        (Answer((b"",), "500 X", {}), PICTURE, "The picture may be the reason"),
        (refusal("'x' does not support chat"), MESSAGES, "Choose a chat model."),
        (
            refusal("Model 'e' is of type 'embedding' rather than the expected type 'llm'"),
            MESSAGES,
            "Choose a chat model.",
        ),
        (refusal("This server does not support completions.", "501 X"), MESSAGES, "Choose a chat model."),
        (
            refusal("CUDA error: not enough system memory", "500 X"),
            [Message("system", "Be brief."), *MESSAGES],
            "Try again",
        ),
        (
            refusal("Input should be 'user' or 'assistant'", "422 X"),
            [Message("system", "Be brief."), *MESSAGES],
            "Empty the system prompt.",
        ),
        (
            Answer(
                (b"<html><title>413 Request Entity Too Large</title></html>",), "413 X", {"content-type": "text/html"}
            ),
            PICTURE,
            "`413 Request Entity Too Large`. Send fewer or smaller pictures, or raise the limit",
        ),
        (
            Answer((b"<html><h1>504 Gateway Time-out</h1></html>",), "504 X", {"content-type": "text/html"}),
            MESSAGES,
            "is not available (504): `504 Gateway Time-out`.",
        ),
        (
            Answer((b"{}",), "401 X", {"www-authenticate": 'Basic realm="x"'}),
            MESSAGES,
            "wants a user name and a password (Basic authentication)",
        ),
        (
            refusal(
                'API key not set. Set it in the provider data header: x-llamastack-provider-data: {"groq_api_key": "K"}'
            ),
            MESSAGES,
            'LLAMA_STACK_CLIENT_PROVIDER_DATA, for example to {"groq_api_key": "KEY"}.',
        ),
    ],
)
async def test_a_refusal_says_what_to_do(answer: Answer, messages: list[Message], words: str) -> None:
    async with raw_stack(answer) as stack:
        assert words in str((await reply_of(stack, messages)).error)


async def test_a_message_that_is_too_long_is_refused_for_good_and_one_that_finds_the_server_busy_is_not() -> None:
    async with raw_stack(refusal("maximum context length is 10 tokens"), refusal("busy", "503 X")) as stack:
        too_long, busy = await reply_of(stack), await reply_of(stack)
    assert isinstance(too_long.error, TooLong) and too_long.refused
    assert too_long.ending == "Later messages are sent without this one."
    assert busy.error and not busy.refused


# Any variant

LINE = st.sampled_from([b"\n", b"\r\n", b"\r"])
NOISE = st.sampled_from([b"", b": ping", b"retry: 3000", b"id: 7", b"id:", b"event", b"data", b"data:", b"data: "])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, str]:
    """A stream in some form, cut nowhere yet, and the text in it."""
    line, space = draw(LINE), draw(st.sampled_from([b"", b" "]))
    words = draw(st.lists(st.text(alphabet="ab é🦙\n{}[]:", min_size=1, max_size=5), min_size=1, max_size=5))
    body = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    for chunk in [*(delta(content=word) for word in words), end()]:
        body += b"".join(noise + line for noise in draw(st.lists(NOISE, max_size=3)))
        key = draw(st.sampled_from([b"delta", b"message"])) if len(words) > 2 else b"delta"
        data = chunk.strip().replace(b'"delta"', b'"' + key + b'"').removeprefix(b"data: ")
        body += b"data:" + space + data + line + line
    return draw(st.sampled_from([body, body.rstrip(b"\r\n"), body + b"data: [DONE]" + line])), "".join(words)


@given(streams(), st.data())
@settings(max_examples=200)
def test_a_stream_in_any_form_and_cut_anywhere_has_the_same_events(
    stream: tuple[bytes, str], data: st.DataObject
) -> None:
    body, text = stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    decoder, chunks = EventDecoder(), []
    for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True):
        chunks += [event.data for event in decoder.feed(body[start:stop])]
    chunks += [event.data for event in decoder.flush()]
    events = [event for chunk in chunks for event in CHAT_COMPLETIONS.events(cast(dict[str, object], chunk))]
    assert "".join(event.text for event in events if isinstance(event, Text)) == text
    assert events[-1] == Finished("stop")


FORMS = st.sampled_from(
    [
        lambda word: {"delta": {"content": word}},
        lambda word: {"message": {"content": word}},
        lambda word: {"delta": {"content": [{"type": "text", "text": word}]}},
        lambda word: {"text": word},
    ]
)
ERRORS = [chunk for chunk, kind, words in FAILURES.values() if kind is BadReply and "Out of memory" in words]


@given(FORMS, streams(), st.sampled_from([end(), *ERRORS]), st.data())
@settings(max_examples=200)
async def test_any_form_of_a_reply_with_any_end_cut_anywhere_is_read(
    form: Callable[[str], object], noise: tuple[bytes, str], last: bytes, data: st.DataObject
) -> None:
    words = noise[1].split(" ")
    body = b"".join(event({"choices": [form(word)]}) for word in words) + last
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    parts = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    response = httpx.Response(200, headers={**SSE, "transfer-encoding": "chunked"}, content=_each(parts))
    request = RequestContext("http://127.0.0.1", timeout=60.0)
    text, failure = "", None
    try:
        async for found in ReplyReader(response, CHAT_COMPLETIONS, request).events():
            text += found.text if isinstance(found, Text) else ""
    except BadReply as error:
        failure = error.sentence
    assert text == "".join(words)
    assert failure is None if last == end() else failure and "Out of memory" in failure


async def test_a_text_tells_whether_more_has_arrived_already() -> None:
    many = delta(content="word ") * (reader.READ_SIZE // 60)
    last = many[reader.READ_SIZE :]
    for parts, flags in (
        ([many[: reader.READ_SIZE], last], [False, True]),
        ([many[: reader.READ_SIZE], last + end()], [False, False]),
    ):
        response = httpx.Response(200, headers={**SSE, "transfer-encoding": "chunked"}, content=_each([*parts, end()]))
        events = ReplyReader(response, CHAT_COMPLETIONS, RequestContext("http://127.0.0.1", timeout=60.0)).events()
        assert [found.caught_up async for found in events if isinstance(found, Text)] == flags


async def test_a_fast_reply_is_not_slowed_down() -> None:
    """It comes at once, so that only pauses between its reads would give it more than a few snapshots."""
    async with raw_stack(Answer((delta(content="word ") * 5_000, end()))) as stack:
        client = LlamaStackClient(stack.url)
        replies = [reply async for reply in respond(client.stream, "m", MESSAGES, SamplingOptions())]
        await client.aclose()
    assert replies[-1].text == "word " * 5_000
    assert len(replies) < 20


async def _each(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
