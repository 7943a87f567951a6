"""The same tests on every generation of servers, on a gateway, and on a recording of llama-stack 0.1.9.

`make contract` runs them. Afterwards `test_the_matrix.py` compares the results with the server matrix in the README;
with `--write-matrix` it rewrites the matrix.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_ui.core.errors import FieldRefused, ServerError, UnknownModel
from llama_ui.core.events import Event, Finished, Notice, Reasoning, Sample, Text, Token, Tokens, Usage
from llama_ui.core.messages import REASONING_EFFORTS, Image, Message, SamplingOptions
from llama_ui.llama_stack.client import LlamaStackClient
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, LEGACY, OPENAI_COMPATIBLE, Dialect
from llama_ui.llama_stack.models import Model, first_choice
from tests.contract import matrix
from tests.support import SECONDS
from tests.support.app_process import ROOT, free_port
from tests.support.fake_stack import Endless, Hold
from tests.support.pictures import picture
from tests.support.received import received
from tests.support.servers import RealServer
from tests.support.servers.recorded import RecordedServer

pytestmark = pytest.mark.contract

TOKENS = ["tok0 ", "tok1 ", "tok2 "]
PICTURE, PHOTO = picture("red"), picture("blue", "JPEG")
CONVERSATION = [
    Message("system", "Be brief."),
    Message("user", "One."),
    Message("assistant", "Uno."),
    Message("user", "Two."),
]

type Server = RealServer | RecordedServer

UNSET = SamplingOptions()
GATEWAY = "litellm-1.108.7"
KEYS_OF_PROVIDERS = ("ogx-1.5.0", "ogx-1.3.1", "llama-stack-0.7.3", "llama-stack-0.6.1", "llama-stack-0.5.4")


@dataclass(frozen=True)
class Generation:
    """A server, and the name and dialect that the client must find."""

    server: str
    name: str
    dialect: Dialect

    @property
    def row(self) -> tuple[str, str]:
        """The row in the matrix."""
        name = "LiteLLM 1.108.7" if self.server == GATEWAY else self.name
        return name, self.dialect.route

    def start(self, port: int | None = None) -> Server:
        """The server, to be entered."""
        return RecordedServer(port or 0) if self.server == RecordedServer.name else RealServer(self.server, port)


GENERATIONS = [
    Generation("ogx-1.5.0", "OGX 1.5.0", CHAT_COMPLETIONS),
    Generation("ogx-1.3.1", "OGX 1.3.1", CHAT_COMPLETIONS),
    Generation("llama-stack-0.7.3", "Llama Stack 0.7.3", CHAT_COMPLETIONS),
    Generation("llama-stack-0.6.1", "Llama Stack 0.6.1", CHAT_COMPLETIONS),
    Generation("llama-stack-0.5.4", "Llama Stack 0.5.4", CHAT_COMPLETIONS),
    Generation("llama-stack-0.4.7", "Llama Stack 0.4.7", CHAT_COMPLETIONS),
    Generation("llama-stack-0.3.5", "Llama Stack 0.3.5", CHAT_COMPLETIONS),
    Generation("llama-stack-0.2.12", "Llama Stack 0.2.12", OPENAI_COMPATIBLE),
    Generation("llama-stack-0.2.12", "Llama Stack 0.2.12", LEGACY),
    Generation("llama-stack-0.1.9", "Llama Stack 0.1.9", LEGACY),
    Generation(GATEWAY, "OpenAI-compatible server", CHAT_COMPLETIONS),
]


class _Transport(httpx.AsyncHTTPTransport):
    """Records requests. It can hide the OpenAI routes, so that the client chooses the legacy one."""

    def __init__(self, only_legacy: bool) -> None:
        super().__init__(limits=httpx.Limits(max_keepalive_connections=0))  # like the app's own
        self.requests: list[httpx.Request] = []
        self._only_legacy = only_legacy

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = await super().handle_async_request(request)
        if not self._only_legacy or request.url.path != "/v1/inspect/routes":
            return response
        routes = json.loads(await response.aread())["data"]
        legacy = [route for route in routes if "chat/completions" not in route["route"]]
        return httpx.Response(response.status_code, json={"data": legacy})


@dataclass
class Target:
    """A generation under test, with its server and a client."""

    generation: Generation
    server: Server
    stack: LlamaStackClient
    transport: _Transport
    events: list[Event] = field(default_factory=list)

    def stream(
        self, options: SamplingOptions = UNSET, messages: list[Message] = CONVERSATION, model: str = ""
    ) -> AsyncGenerator[Event, None]:
        return received(self.stack.stream(model or self.server.model, messages, options))

    async def reply(self, *arguments: Any, **named: Any) -> list[Event]:
        self.events = []
        async for event in self.stream(*arguments, **named):
            self.events.append(event)
        return self.events

    async def failure(self, **named: Any) -> ServerError:
        with pytest.raises(ServerError) as failed:
            await self.reply(**named)
        return failed.value

    def posts(self) -> list[str]:
        return [request.url.path for request in self.transport.requests if request.method == "POST"]

    def engine_request(self) -> dict[str, object]:
        """The only request that reached the engine, with current names and shapes."""
        (request,) = self.server.engine.requests
        for message in request["messages"]:
            match message["content"]:
                case [{"type": "text", "text": text}]:
                    message["content"] = text
        if "max_completion_tokens" in request:
            request["max_tokens"] = request.pop("max_completion_tokens")
        return request

    def image_part(self, image: Image) -> dict[str, object]:
        """An image as the engine receives it: the same bytes, with the media type as this server writes it."""
        url = image.data_url
        if self.server.name == "llama-stack-0.2.12" and self.generation.dialect is LEGACY:
            url = url.replace("png;", "PNG;").replace("jpeg;", "JPEG;")
        return {"type": "image_url", "image_url": {"url": url}}

    def record(self, column: str, cell: bool | str) -> None:
        matrix.record(self.generation.row, column, cell)


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


@pytest.fixture(scope="module", params=GENERATIONS, ids=[f"{item.server} {item.dialect.route}" for item in GENERATIONS])
def generation(request: pytest.FixtureRequest) -> Generation:
    return request.param  # type: ignore[no-any-return] # pytest does not know the type


@pytest.fixture(scope="module")
def server(generation: Generation) -> Iterator[Server]:
    """One server at a time: pytest runs all the tests of a generation before those of the next one."""
    with generation.start() as server:
        yield server.await_ready() if isinstance(server, RealServer) else server


@pytest.fixture
async def target(generation: Generation, server: Server) -> AsyncIterator[Target]:
    server.reset()
    transport = _Transport(only_legacy=generation.dialect is LEGACY)
    http = httpx.AsyncClient(transport=transport, timeout=SECONDS)
    async with aclosing(LlamaStackClient(server.url, server.key, http=http)) as stack:
        yield Target(generation, server, stack, transport)


async def test_the_server_is_recognized_and_its_route_chosen(target: Target) -> None:
    identity = await target.stack.discovery.identity()
    assert identity.name == target.generation.name
    assert identity.dialect == target.generation.dialect


async def test_models_are_listed_with_id_and_kind(target: Target) -> None:
    prefix = target.server.model.removesuffix("tiny")
    models = await target.stack.models()
    chat, embedding = f"{prefix}tiny", f"{prefix}text-embedding-3-small"
    if target.server.name == GATEWAY:  # it does not tell them apart
        assert set(models) == {Model(chat, None), Model(embedding, None)}
    else:
        assert set(models) == {Model(chat, "llm"), Model(embedding, "embedding")}
    assert first_choice(await target.stack.chat_models()) == chat
    target.record("Models", True)


async def test_a_conversation_reaches_the_engine_and_the_reply_is_streamed(target: Target) -> None:
    hold = Hold()
    target.server.engine.enqueue(TOKENS[0], hold, *TOKENS[1:])
    events = []
    async for event in target.stream():
        events.append(event)
        if isinstance(event, Text):
            hold.release.set()  # the server sends the rest only after the first text has arrived
    assert text_of(events) == "".join(TOKENS)
    assert [event for event in events if isinstance(event, Finished)] == [Finished("stop")]
    assert target.engine_request()["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One."},
        {"role": "assistant", "content": "Uno."},
        {"role": "user", "content": "Two."},
    ]
    target.record("Text, history", True)


async def test_a_reply_without_streaming_comes_in_one_piece(target: Target) -> None:
    target.server.engine.enqueue(*TOKENS, finish_reason="length")
    events = await target.reply(SamplingOptions(streaming=False))
    assert [event for event in events if isinstance(event, Text)] == [Text("".join(TOKENS))]
    assert [event for event in events if isinstance(event, Finished)] == [Finished("length")]
    (body,) = [json.loads(request.content) for request in target.transport.requests if request.method == "POST"]
    assert body["stream"] is False and "stream_options" not in body


async def test_a_failing_engine_is_explained_without_streaming_too(target: Target) -> None:
    for _ in range(3):  # the server may retry
        target.server.engine.enqueue(status=500, body={"error": {"message": "Not like that."}})
    error = await target.failure(options=SamplingOptions(streaming=False))
    assert error.sentence.endswith(".") and error.fix


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.5, "top_p": 0.9, "max_tokens": 10}, {"temperature": 0.5}, {"top_p": 0.9}], ids=str
)
async def test_sampling_settings_reach_the_engine(target: Target, settings: dict[str, Any]) -> None:
    await target.reply(SamplingOptions(**settings))
    assert target.engine_request().items() >= settings.items()
    assert "reasoning" not in json.dumps(target.engine_request())
    target.record("Sampling", True)


async def test_a_greedy_request_is_answered(target: Target) -> None:
    assert text_of(await target.reply(SamplingOptions(temperature=0.0)))
    if target.server.name != RecordedServer.name:  # a greedy request has no temperature there
        assert target.engine_request()["temperature"] == 0


async def test_a_seed_reaches_the_engine_or_a_notice_says_that_it_does_not(target: Target) -> None:
    await target.reply(SamplingOptions(seed=7))
    carried = target.engine_request().get("seed") == 7
    notices = [event.sentence for event in target.events if isinstance(event, Notice)]
    assert carried != any("Seed" in notice for notice in notices)
    assert carried != ("seed" in target.generation.dialect.lacks)
    target.record("Seed", carried or "no, with a notice")


@pytest.mark.parametrize("effort", REASONING_EFFORTS)
async def test_a_reasoning_effort_reaches_the_engine_or_is_left_out(target: Target, effort: str) -> None:
    target.server.engine.enqueue(*TOKENS)
    await target.reply(SamplingOptions(reasoning_effort=effort))
    assert text_of(target.events) == "".join(TOKENS)
    legacy = target.generation.dialect is LEGACY
    carried = target.generation.dialect is CHAT_COMPLETIONS  # 0.2.12 accepts and drops it
    assert target.engine_request().get("reasoning_effort") == (effort if carried else None)
    notices = [event.sentence for event in target.events if isinstance(event, Notice)]
    assert ["Reasoning effort" in notice for notice in notices] == [True] * legacy
    target.record("Reasoning effort", "no, with a notice" if legacy else carried)


SCHEMA = {"type": "object", "properties": {"zebra": {"type": "string"}}}
# The options under "Request", and what the engine receives of each, as words in its request.
OPTIONS = {
    "JSON schema": (
        SamplingOptions(response_format={"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA}}),
        ['"zebra"'],
    ),
    "Token probabilities": (SamplingOptions(top_logprobs=5), ['"logprobs": true', '"top_logprobs": 5']),
    "Samples": (SamplingOptions(n=3), ['"n": 3']),
    "Stop sequences": (SamplingOptions(stop=["END", "STOP"]), ['"stop": ["END", "STOP"]']),
    "Frequency penalty": (SamplingOptions(frequency_penalty=0.5), ['"frequency_penalty": 0.5']),
    "Presence penalty": (SamplingOptions(presence_penalty=-0.5), ['"presence_penalty": -0.5']),
    "Thinking": (SamplingOptions(thinking=False), ['"enable_thinking": false']),
    "Extra fields": (SamplingOptions(extra_body={"top_k": 40}), ['"top_k": 40']),
}


@pytest.mark.parametrize("label", OPTIONS)
async def test_an_option_reaches_the_engine_or_a_notice_says_that_it_does_not(target: Target, label: str) -> None:
    options, words = OPTIONS[label]
    target.server.engine.enqueue(*TOKENS)
    try:
        await target.reply(options)
    except FieldRefused as refusal:  # the app then sends as many requests
        assert (label, refusal.field) == ("Samples", "n")
        target.record(label, "by as many requests")
        return
    assert text_of(target.events) == "".join(TOKENS)
    carried = all(word in json.dumps(target.engine_request()) for word in words)
    noticed = any(label in event.sentence for event in target.events if isinstance(event, Notice))
    assert not (carried and noticed)
    target.record(label, carried or ("no, with a notice" if noticed else False))


async def test_the_probabilities_of_tokens_come_back_where_they_reach_the_engine(target: Target) -> None:
    top = [{"token": token, "logprob": -1.0, "bytes": None} for token in ("tok0 ", "other")]
    told = {"content": [{"token": "tok0 ", "logprob": -1.0, "bytes": None, "top_logprobs": top}], "refusal": None}
    choice = {"index": 0, "delta": {"content": "tok0 "}, "logprobs": told, "finish_reason": None}
    target.server.engine.enqueue({"choices": [choice]})
    await target.reply(SamplingOptions(top_logprobs=5))
    likely = (Token("tok0 ", -1.0), Token("other", -1.0))
    found = [event.tokens for event in target.events if isinstance(event, Tokens)]
    assert found == ([] if target.generation.dialect is LEGACY else [(Token("tok0 ", -1.0, likely),)])


async def test_each_sample_is_told_apart(target: Target) -> None:
    choices = [{"index": index, "delta": {"content": f"a{index}"}, "finish_reason": None} for index in range(2)]
    target.server.engine.enqueue(*[{"choices": [choice]} for choice in choices])
    if target.generation.dialect is LEGACY:
        assert isinstance(await target.failure(options=SamplingOptions(n=2)), FieldRefused)
        return
    events = await target.reply(SamplingOptions(n=2))
    assert Text("a0") in events and Sample(1, Text("a1")) in events


async def test_images_reach_the_engine_in_their_own_messages(target: Target) -> None:
    target.server.engine.enqueue(*TOKENS)
    conversation = [
        Message("user", "What is it?", (PICTURE,)),
        Message("assistant", "A pixel."),
        Message("user", "", (PHOTO,)),  # an image alone
    ]
    await target.reply(messages=conversation)
    assert text_of(target.events) == "".join(TOKENS)
    assert target.engine_request()["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, target.image_part(PICTURE)]},
        {"role": "assistant", "content": "A pixel."},
        {"role": "user", "content": [target.image_part(PHOTO)]},
    ]
    target.record("Images", True)


async def test_an_engine_that_rejects_images_is_explained(target: Target) -> None:
    if target.server.name == RecordedServer.name:
        pytest.skip("it does not pass on the engine's message")
    for _ in range(3):  # the server may retry
        message = "At most 0 image(s) may be provided in one prompt."
        target.server.engine.enqueue(status=400, body={"error": {"message": message}})
    error = await target.failure(messages=[Message("user", "What is it?", (PICTURE,))])
    assert "cannot see pictures" in error.sentence


async def test_token_counts_are_right_where_there_are_any(target: Target) -> None:
    target.server.engine.enqueue(*TOKENS)
    counted = [event for event in await target.reply() if isinstance(event, Usage)]
    assert counted in ([], [Usage(7, 3)], [Usage(13, 3)])
    if target.generation.dialect is not LEGACY:
        assert counted
    target.record("Usage", bool(counted))


async def test_the_token_limit_is_the_finish_reason(target: Target) -> None:
    target.server.engine.enqueue(*TOKENS, finish_reason="length")
    events = await target.reply()
    assert text_of(events) == "".join(TOKENS)
    assert [event for event in events if isinstance(event, Finished)] == [Finished("length")]
    target.record("Finish reason", True)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
async def test_reasoning_is_separate_from_the_answer_where_the_route_has_it(target: Target, key: str) -> None:
    target.server.engine.enqueue({"choices": [{"index": 0, "delta": {key: "Hm."}, "finish_reason": None}]}, *TOKENS)
    events = await target.reply()
    assert text_of(events) == "".join(TOKENS)
    reasoning = [event for event in events if isinstance(event, Reasoning)]
    assert reasoning == ([] if target.generation.dialect is LEGACY else [Reasoning("Hm.")])
    target.record("Reasoning", bool(reasoning))


async def test_an_unknown_model_is_an_error_with_the_closest_name(target: Target) -> None:
    failure = await target.failure(model="nope")
    assert isinstance(failure, UnknownModel) and "no model `nope`" in failure.sentence
    assert f"`{target.server.model}`" in failure.fix
    assert target.server.engine.requests == []


async def test_another_generations_id_of_the_model_works_with_a_notice(target: Target) -> None:
    if target.server.name == RecordedServer.name:
        pytest.skip("its answer for an unknown model is recorded for one id only")
    events = await target.reply(model="tiny" if target.server.model == "engine/tiny" else "engine/tiny")
    assert isinstance(events[0], Notice) and f"`{target.server.model}`" in events[0].sentence
    assert text_of(events)
    assert len(target.server.engine.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_a_failing_engine_is_explained_in_one_sentence_and_gets_one_request(target: Target, status: int) -> None:
    for _ in range(3):  # the server may retry
        target.server.engine.enqueue(status=status, body={"error": {"message": "Not like that. sk-secret-key-1"}})
    error = await target.failure()
    assert error.sentence.endswith(".") and error.fix
    assert "sk-secret" not in str(error)
    assert len(target.posts()) == 1
    target.server.engine.replies.clear()
    assert text_of(await target.reply())


async def test_text_before_a_failure_of_the_engine_is_kept(target: Target) -> None:
    target.server.engine.enqueue(TOKENS[0], {"error": {"message": "boom"}})
    await target.failure()
    assert text_of(target.events) == TOKENS[0]
    assert text_of(await target.reply())


async def test_stop_closes_the_request_to_the_engine(target: Target) -> None:
    reply = target.server.engine.enqueue(TOKENS[0], Endless())
    async with aclosing(target.stream()) as events:
        async for event in events:
            if isinstance(event, Text):
                break
    if keeps_generating := target.server.name == "llama-stack-0.2.12":  # it closes its own reply, not the engine's
        assert isinstance(target.server, RealServer)
        await asyncio.to_thread(target.server.await_line, "Generator cancelled", SECONDS)
    else:
        assert await asyncio.to_thread(reply.ended.wait, SECONDS)
    cell = "yes, but the engine keeps generating" if keeps_generating else "yes"
    target.record("Stop", "after the first token" if target.server.name == GATEWAY else cell)  # see the next test


async def test_stop_before_the_first_token_closes_the_request_to_the_engine(target: Target) -> None:
    if target.server.name == RecordedServer.name:
        pytest.skip("it notices a closed connection only when it sends")
    hold = Hold()
    reply = target.server.engine.enqueue(hold)
    request = asyncio.create_task(target.reply())
    await asyncio.to_thread(hold.reached.wait, SECONDS)
    request.cancel()
    await asyncio.wait([request])
    if target.server.name in (GATEWAY, "llama-stack-0.2.12"):  # they may wait for the engine's first token
        hold.release.set()
    assert await asyncio.to_thread(reply.ended.wait, SECONDS)
    hold.release.set()


async def test_a_provider_takes_its_key_from_the_client(target: Target) -> None:
    if target.server.name not in KEYS_OF_PROVIDERS:
        pytest.skip("this server's configuration has no such provider")
    failure = await target.failure(model="keyed/tiny")
    assert re.search(r'LLAMA_STACK_CLIENT_PROVIDER_DATA, for example to \{"\w+_api_key"', failure.fix)
    data = {"openai_api_key": "sk-of-the-provider"}
    async with aclosing(LlamaStackClient(target.server.url, provider_data=data)) as stack:
        assert text_of([event async for event in received(stack.stream("keyed/tiny", CONVERSATION, UNSET))])
    assert target.server.engine.keys[-1] == "Bearer sk-of-the-provider"


def check(*arguments: str, cwd: Path, key: str | None = None) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "app.py"), "--check", *arguments]
    environ = os.environ | ({"LLAMA_STACK_CLIENT_API_KEY": key} if key else {})
    ended = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=SECONDS * 2)
    assert ended.stderr == ""
    return ended.returncode, ended.stdout


async def test_the_connection_check_passes(target: Target, tmp_path: Path) -> None:
    status, output = check("--base-url", target.server.url, "--json", cwd=tmp_path, key=target.server.key)
    report = json.loads(output)
    assert (status, report["passed"]) == (0, True)
    assert report["server"] == target.generation.name
    assert report["model"] == target.server.model
    assert report["checks"][-1]["check"] == "Reply"
    target.record("`--check`", True)


def test_the_connection_check_recognizes_a_dead_engine_behind_a_healthy_server(tmp_path: Path) -> None:
    with RealServer("ogx-1.5.0") as server:
        server.await_ready()
        httpx.get(f"{server.url}/v1/models", trust_env=False)
        server.engine.stop()
        status, output = check("--base-url", server.url, cwd=tmp_path)
    assert status == 1
    *others, last = output.splitlines()
    assert all(line.startswith("ok") for line in others)
    assert re.match(r"FAILED +Reply .*engine behind it", last), output


NEWEST, OLDEST, RECORDED = (GENERATIONS[index] for index in (0, -4, -2))


@pytest.mark.parametrize(
    "first, second",
    [(NEWEST, RECORDED), (RECORDED, OLDEST), (OLDEST, NEWEST)],
    ids=lambda generation: generation.server,
)
async def test_the_next_message_works_after_the_server_is_replaced_by_another_generation(
    first: Generation, second: Generation
) -> None:
    port = free_port()
    async with aclosing(LlamaStackClient(f"http://127.0.0.1:{port}")) as stack:
        for generation in (first, second):
            with generation.start(port) as server:
                if isinstance(server, RealServer):
                    server.await_ready()
                events = [event async for event in received(stack.stream("tiny", CONVERSATION, UNSET))]
                assert text_of(events)
