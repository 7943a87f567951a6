"""The client on a plain engine without a Llama Stack: llama.cpp's own server with a real model, and a key."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import httpx
import pytest

from llama_ui.core.errors import AuthFailed, FieldRefused, ServerError
from llama_ui.core.events import Event, Finished, Sample, Text, Tokens, Usage
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.llama_stack.client import LlamaStackClient
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS
from tests.contract import matrix
from tests.support import SECONDS
from tests.support.app_process import ROOT, free_port
from tests.support.pictures import picture
from tests.support.received import received

pytestmark = pytest.mark.contract

ROW = ("llama.cpp's server", CHAT_COMPLETIONS.route)
KEY = "sk-of-the-engine"
QUESTION = [Message("system", "Be brief."), Message("user", "Tell me about llamas.")]


class Engine:
    """The server process."""

    def __init__(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "tests.support.servers.llama_cpp", str(port), KEY]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(
            f"{self.url}{path}", headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=SECONDS
        )

    def wait_until(self, path: str, text: str) -> None:
        """Waits until the response has the text; a process has no event to wait for."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(httpx.HTTPError):
                if text in self.get(path).text:
                    return
            time.sleep(0.1)
        raise AssertionError(f"{path} does not have {text!r}; the status of the process is {self.process.poll()}")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine()
    try:
        engine.wait_until("/health", '"ok"')
        yield engine
    finally:
        engine.process.kill()
        engine.process.wait()


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[LlamaStackClient]:
    async with aclosing(LlamaStackClient(engine.url, KEY)) as client:
        yield client


async def ask(
    client: LlamaStackClient, messages: list[Message] = QUESTION, model: str = "tiny", **options: float
) -> list[Event]:
    settings = SamplingOptions(**{"max_tokens": 8, **options})  # type: ignore[arg-type] # their types differ
    return [event async for event in received(client.stream(model, messages, settings))]


def usage(events: list[Event]) -> Usage:
    (found,) = [event for event in events if isinstance(event, Usage)]
    return found


async def test_it_is_recognized_with_its_model(client: LlamaStackClient) -> None:
    identity = await client.discovery.identity()
    assert (identity.name, identity.dialect) == ("OpenAI-compatible server", CHAT_COMPLETIONS)
    assert await client.chat_models() == ["tiny"]
    matrix.record(ROW, "Models", True)


async def test_a_reply_is_streamed_up_to_its_token_limit_and_counted(client: LlamaStackClient) -> None:
    events = await ask(client)
    assert any(isinstance(event, Text) for event in events)
    assert [event for event in events if isinstance(event, Finished)] == [Finished("length")]
    assert usage(events).completion_tokens == 8
    for column in ("Usage", "Finish reason"):
        matrix.record(ROW, column, True)


async def test_the_options_of_a_request_have_their_effect(client: LlamaStackClient) -> None:
    schema = {"type": "object", "properties": {"zebra": {"enum": ["a", "b"]}}, "required": ["zebra"]}
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    asked = [
        ("JSON schema", SamplingOptions(response_format=form, max_tokens=200)),
        ("Token probabilities", SamplingOptions(top_logprobs=5, max_tokens=4)),
        ("Samples", SamplingOptions(n=2, max_tokens=4, temperature=1.0)),
        ("Stop sequences", SamplingOptions(stop=[" "], max_tokens=30)),
    ]
    for label, options in asked:
        events = [event async for event in received(client.stream("tiny", QUESTION, options))]
        text = "".join(event.text for event in events if isinstance(event, Text))
        tokens = [token for event in events if isinstance(event, Tokens) for token in event.tokens]
        has_effect = {
            "JSON schema": lambda text=text: json.loads(text)["zebra"] in ("a", "b"),
            "Token probabilities": lambda tokens=tokens: [len(token.top_logprobs) for token in tokens] == [5] * 4,
            "Samples": lambda events=events: {event.index for event in events if isinstance(event, Sample)} == {1},
            "Stop sequences": lambda text=text: text and " " not in text,
        }
        assert has_effect[label]()
        matrix.record(ROW, label, True)
    with pytest.raises(FieldRefused):  # of more than it has slots; the app then sends as many requests
        [event async for event in client.stream("tiny", QUESTION, SamplingOptions(n=3))]
    rest = SamplingOptions(
        frequency_penalty=0.5, presence_penalty=-0.5, thinking=False, extra_body={"top_k": 1}, max_tokens=2
    )
    assert any([isinstance(event, Text) async for event in received(client.stream("tiny", QUESTION, rest))])
    for label in ("Frequency penalty", "Presence penalty", "Thinking", "Extra fields"):
        matrix.record(ROW, label, "accepted")


async def test_the_conversation_reaches_the_engine(client: LlamaStackClient) -> None:
    conversation = [*QUESTION, Message("assistant", "They spit."), Message("user", "Why?")]
    longer = [Message("system", "Be brief, and kind."), *QUESTION[1:]]
    counts = [usage(await ask(client, messages)).prompt_tokens or 0 for messages in (QUESTION, longer, conversation)]
    assert counts == sorted(set(counts)), "each has more words than the one before"
    matrix.record(ROW, "Text, history", True)


async def test_sampling_options_are_taken(client: LlamaStackClient) -> None:
    def text(events: list[Event]) -> str:
        return "".join(event.text for event in events if isinstance(event, Text))

    greedy = [text(await ask(client, temperature=0.0)) for _ in range(2)]
    seeded = [text(await ask(client, temperature=2.0, top_p=1.0, seed=seed)) for seed in (1, 1, 2)]
    assert greedy[0] == greedy[1] and seeded[0] == seeded[1] != seeded[2]
    assert text(await ask(client, reasoning_effort="low"))  # type: ignore[arg-type] # a word
    matrix.record(ROW, "Sampling", True)
    matrix.record(ROW, "Seed", True)
    matrix.record(ROW, "Reasoning effort", True)


async def test_a_picture_for_a_model_without_vision_is_explained(client: LlamaStackClient) -> None:
    with pytest.raises(ServerError, match="cannot see pictures"):
        await ask(client, [Message("user", "What is it?", (picture("red"),))])
    matrix.record(ROW, "Images", "with a vision model")
    matrix.record(ROW, "Reasoning", "with such a model")


@pytest.mark.parametrize("key, sentence", [(None, "wants a key"), ("sk-another", "refused the key")])
async def test_a_missing_and_a_wrong_key_are_explained(engine: Engine, key: str | None, sentence: str) -> None:
    async with aclosing(LlamaStackClient(engine.url, key)) as client:
        with pytest.raises(AuthFailed, match=sentence):
            await ask(client)


async def test_a_conversation_that_is_too_long_is_explained(client: LlamaStackClient) -> None:
    with pytest.raises(ServerError, match=r"too long for the model: \d,\d+ tokens, [\d,]+ more than the [\d,]+"):
        await ask(client, [Message("user", "word " * 5_000)])


async def test_stop_frees_the_engine(client: LlamaStackClient, engine: Engine) -> None:
    options = SamplingOptions(max_tokens=1_500, temperature=0.0)  # this model then goes on for as long
    async with aclosing(received(client.stream("tiny", QUESTION, options))) as events:
        async for event in events:
            if isinstance(event, Text):
                break
        assert any(slot["is_processing"] for slot in engine.get("/slots").json())
    for slot in ("0", "1"):
        await asyncio.to_thread(engine.wait_until, f"/slots?fail_on_no_slot={slot}", '"is_processing":false')
    matrix.record(ROW, "Stop", True)


def test_the_connection_check_passes(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_STACK_CLIENT_API_KEY", KEY)
    command = [sys.executable, str(ROOT / "app.py"), "--check", "--json", "--base-url", engine.url]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS * 2)
    assert ended.stderr == "" and json.loads(ended.stdout)["passed"]
    matrix.record(ROW, "`--check`", True)
