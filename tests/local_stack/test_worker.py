"""The real local stack chats, keeps to itself, and ends with the app."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import platformdirs
import psutil
import pytest

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import LocalStackError
from llama_ui.core.events import Event, Sample, Text, Tokens
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.llama_stack.client import LlamaStackClient
from llama_ui.local_stack import model
from llama_ui.local_stack.launcher import LocalStack
from llama_ui.local_stack.worker import forget_fetch_variables
from llama_ui.workbench.continuation import continued
from llama_ui.workbench.schema import with_verdict
from tests.support import SECONDS
from tests.support.received import received

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL_ID = f"local/{model.DEMONSTRATION_NAME}"
SECRETS = ("LLAMA_STACK_CLIENT_API_KEY", "OPENAI_API_KEY", "HF_TOKEN")
QUESTION = Message("user", "What is the capital of France?")
PHASES = ["Preparing the local stack", "Starting the model", "Starting the OGX server"]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where workers have their scratch directories."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_variables_for_fetching_are_gone_before_the_servers_start(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = dict.fromkeys(("HF_TOKEN", "PIP_INDEX_URL", "HTTPS_PROXY", "PATH"), "x")
    monkeypatch.setattr("os.environ", environ)
    forget_fetch_variables()
    assert environ == {"PATH": "x"}


@pytest.mark.real_stack
def test_a_broken_model_file_is_refused_and_the_console_says_why(
    scratch: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = scratch / "mine.gguf"
    path.write_bytes(b"GGUF" + bytes(1000))
    with pytest.raises(LocalStackError, match="cannot load the model file"):
        LocalStack(scratch / "cache", str(path)).start()
    assert "failed to load model" in capfd.readouterr().err
    assert list(scratch.iterdir()) == [path]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the demonstration model of the user's own, which is fetched once and not for each run."""
    path = model.fetch(None, platformdirs.user_cache_path("llama-ui") / "llama-ui-fetch-tests", StringIO())
    cache = tmp_path_factory.mktemp("cache")  # the user may have chosen another model
    (cache / path.name).symlink_to(path)
    return cache


@pytest.fixture(scope="module")
def running(cache: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The address and the process of a stack, started with secrets and a dead proxy in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*SECRETS, "HTTPS_PROXY", "HTTP_PROXY"):
            patch.setenv(name, "http://127.0.0.1:1" if "PROXY" in name else "secret")
        patch.setenv("NO_PROXY", "pypi.org")
        before = {*psutil.Process().children()}
        stack = LocalStack(cache)
        url = stack.start()
    (process,) = {*psutil.Process().children()} - before
    yield url, process
    stack.stop()


def chat(url: str) -> list[dict[str, Any]]:
    """The chunks of a streamed reply."""
    messages = [{"role": "user", "content": "Write a two-sentence poem about llamas."}]
    body = {"model": MODEL_ID, "messages": messages, "max_tokens": 10}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    with httpx.Client(trust_env=False, timeout=SECONDS) as client:
        reply = client.post(f"{url}/v1/chat/completions", json=body).raise_for_status()
    return [json.loads(line[5:]) for line in reply.iter_lines() if line.startswith("data: {")]


@pytest.mark.real_stack
def test_the_server_offers_one_model_streams_and_stores_nothing(running: tuple[str, psutil.Process]) -> None:
    url, _ = running
    chunks = chat(url)
    assert len([chunk for chunk in chunks if chunk["choices"]]) >= 5
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    with httpx.Client(base_url=f"{url}/v1", trust_env=False, timeout=SECONDS) as client:
        assert [offer["id"] for offer in client.get("models").json()["data"]] == [MODEL_ID]
        stored = client.get("chat/completions")
    assert stored.is_error or stored.json()["data"] == []


@pytest.mark.real_stack
def test_the_worker_listens_on_loopback_only_and_holds_no_key(running: tuple[str, psutil.Process]) -> None:
    _, process = running
    assert not process.children()
    listening = [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert [connection.laddr.ip for connection in listening] == ["127.0.0.1"] * 2
    assert not {*SECRETS} & process.environ().keys()


@pytest.mark.real_stack
def test_a_stack_whose_ogx_server_ended_can_be_started_again(cache: Path, scratch: Path) -> None:
    before = {*psutil.Process().children()}
    stack = LocalStack(cache)
    stack.start()
    (process,) = {*psutil.Process().children()} - before
    process.terminate()  # ends the OGX server, and with it the engine
    process.wait(SECONDS)
    assert not stack.alive()
    assert len(chat(stack.start())) >= 5
    assert stack.alive()
    stack.stop()
    assert not stack.alive()
    assert {*psutil.Process().children()} == before
    assert not list(scratch.iterdir())


APP = """
import sys
from pathlib import Path
from llama_ui.local_stack.launcher import LocalStack

LocalStack(Path(sys.argv[1]), report=lambda sentence: print(sentence, flush=True)).start()
print("ready", flush=True)
sys.stdin.read()
"""
ENDS = [(signal.SIGINT, "ready"), *((signal.SIGKILL, phase) for phase in [*PHASES, "ready"])]


def processes_of_app(app: "subprocess.Popen[str]", phase: str) -> list[psutil.Process]:
    """The child processes of an app that has reported `phase`."""
    assert app.stdout
    assert any(line.strip() == phase for line in app.stdout)
    return psutil.Process(app.pid).children(recursive=True)


@pytest.mark.real_stack
@pytest.mark.parametrize(("end", "phase"), ENDS)
def test_no_process_outlives_the_app(end: int, phase: str, cache: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", APP, str(cache)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as app:
        processes = processes_of_app(app, phase)
        assert processes
        app.send_signal(end)
        app.wait()
        assert not psutil.wait_procs(processes, timeout=SECONDS)[1]
    assert not list(tmp_path.iterdir())


async def events_of(url: str, options: SamplingOptions, *messages: Message) -> list[Event]:
    """The events of a reply of the real stack, by the client that the app uses."""
    async with aclosing(LlamaStackClient(url, timeout=SECONDS)) as client:
        return [event async for event in received(client.stream(MODEL_ID, [QUESTION, *messages], options))]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


@pytest.mark.real_stack
async def test_a_reply_of_the_real_stack_matches_its_schema(running: tuple[str, psutil.Process]) -> None:
    schema = {"type": "object", "properties": {"word": {"enum": ["yes", "no"]}}, "required": ["word"]}
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    options = SamplingOptions(response_format=form, max_tokens=200)
    reply = Reply(text_of(await events_of(running[0], options)), ended=True)
    assert (await with_verdict(reply, options)).ending == "The reply matches the schema."


@pytest.mark.real_stack
async def test_the_real_stack_tells_five_likely_tokens_and_continues_from_one(
    running: tuple[str, psutil.Process],
) -> None:
    options = SamplingOptions(top_logprobs=5, max_tokens=4, temperature=0.0)
    events = await events_of(running[0], options)
    tokens = [token for event in events if isinstance(event, Tokens) for token in event.tokens]
    assert [len(token.top_logprobs) for token in tokens] == [5] * len(tokens)
    assert "".join(token.token for token in tokens) == text_of(events)
    other = next(likely.token for likely in tokens[1].top_logprobs if likely.token != tokens[1].token)
    prefix = tokens[0].token + other
    for streaming in (True, False):
        events = await events_of(running[0], replace(options, streaming=streaming), Message("assistant", prefix))
        whole = continued(Reply(text_of(events), ended=True), prefix)
        assert whole.text.startswith(prefix) and len(whole.text) > len(prefix)
        assert whole.text.count(prefix) == 1 and not whole.notices


@pytest.mark.real_stack
async def test_the_real_stack_sends_samples_and_stops(running: tuple[str, psutil.Process]) -> None:
    events = await events_of(running[0], SamplingOptions(n=3, max_tokens=4, temperature=1.0))
    assert text_of(events) and {event.index for event in events if isinstance(event, Sample)} == {1, 2}
    stopped = text_of(await events_of(running[0], SamplingOptions(stop=[" "], max_tokens=30)))
    assert stopped.strip() and " " not in stopped
