"""The connection check, step by step, on real sockets."""

import asyncio
import json
from collections.abc import Callable

import pytest

from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.workbench import check
from llama_ui.workbench.check import CheckResult, check_connection
from tests.support.app_process import free_port
from tests.support.bad_servers import HTML, RawServer
from tests.support.fake_stack import MODEL, FakeStack

pytestmark = pytest.mark.loopback

ALL = ["Address", "Name", "Connection", "HTTP", "Server", "Models", "Key", "Reply"]


def settings(url: str, **more: object) -> Settings:
    return Settings(base_url=url, no_local=True, **more)  # type: ignore[arg-type]


async def results(settings: Settings, model: str = "") -> list[CheckResult]:
    found = [result async for result in check_connection(settings, Connection(settings), model)]
    for result in found:
        assert result.message
        assert bool(result.fix) is not result.passed
        assert len(str(result).splitlines()) == 1
    return found


async def failure(settings: Settings, model: str = "") -> tuple[list[str], CheckResult]:
    """The checks that passed, and the one that failed, which is the last."""
    *passed, last = await results(settings, model)
    assert all(result.passed for result in passed)
    assert not last.passed
    return [result.check for result in passed], last


@pytest.mark.parametrize("server", ["OGX 1.5.0", "OpenAI-compatible server"])
async def test_a_good_server_passes_every_check_with_a_request_for_one_token(stack: FakeStack, server: str) -> None:
    if server != "OGX 1.5.0":
        stack.act_as_engine(MODEL)
    found = await results(settings(stack.url))
    assert [(result.check, result.passed) for result in found] == [(check, True) for check in ALL]
    messages = {result.check: result.message for result in found}
    assert "first token" in messages.pop("Reply")
    assert messages == {
        "Address": stack.url,
        "Name": "host resolves",
        "Connection": "port open",
        "HTTP": "HTTP response received",
        "Server": f"{server}, asked at `/v1/chat/completions`",
        "Models": f"1 chat model; `{MODEL}` is chosen",
        "Key": "none is set, and none is needed",
    }
    (request,) = stack.requests
    assert (request["model"], request["max_tokens"]) == (MODEL, 1)


def _add_v1(stack: FakeStack) -> None:
    stack.url += "/v1"


FAILURES: dict[str, tuple[Callable[[FakeStack], object], int, str, str]] = {
    "nothing listens": (lambda stack: stack.stop(), 2, "Connection", "Can't reach http://127.0.0.1:"),
    "an address that ends in /v1": (_add_v1, 4, "Server", "Leave /v1 off the address: http://127.0.0.1:"),
    "no chat model": (lambda stack: stack.models.pop(0), 5, "Models", "The server lists no chat model."),
    "a key for the reply": (lambda stack: stack.enqueue(status=401, body={}), 6, "Key", "The server wants a key."),
    "an engine that fails": (
        lambda stack: stack.enqueue(status=500, body={"detail": "Error code: 503 - {'error': 'loading'}"}),
        7,
        "Reply",
        "The model engine behind the server is not available (503): loading.",
    ),
}


@pytest.mark.parametrize(("prepare", "count", "check", "words"), FAILURES.values(), ids=FAILURES)
async def test_a_failure_is_the_last_result(
    stack: FakeStack, prepare: Callable[[FakeStack], object], count: int, check: str, words: str
) -> None:
    prepare(stack)
    passed, last = await failure(settings(stack.url))
    assert (passed, last.check) == (ALL[:count], check)
    assert words in str(last)
    assert len(stack.requests) == (count > 5)


@pytest.mark.parametrize(("answer", "check"), [(b"", "HTTP"), (HTML, "Server")], ids=["no answer", "a web page"])
async def test_another_program_fails_where_it_differs(answer: bytes, check: str) -> None:
    with RawServer(answer, port=(port := free_port())):
        passed, last = await failure(settings(f"http://127.0.0.1:{port}"))
    assert (passed, last.check) == (ALL[: ALL.index(check)], check)


@pytest.mark.parametrize("key", [None, "sk-wrong-one"])
async def test_a_wrong_key_fails_and_is_not_shown(stack: FakeStack, key: str | None) -> None:
    stack.key = "sk-right-one"
    passed, last = await failure(settings(stack.url, api_key=key))
    assert passed == ["Address", "Name", "Connection", "HTTP", "Server"]
    assert last.check == "Key" and "LLAMA_STACK_CLIENT_API_KEY" in last.fix
    assert "sk-" not in str(last)
    assert stack.requests == []


@pytest.mark.parametrize("place", ["settings", "page"])
async def test_a_chosen_model_that_is_unknown_fails_with_the_closest_and_is_requested(
    stack: FakeStack, place: str
) -> None:
    chosen = settings(stack.url, model="fake/lama" if place == "settings" else MODEL)
    found = await results(chosen, "fake/lama" if place == "page" else "")
    assert [result.check for result in found if not result.passed] == ["Models", "Reply"]
    for result in (found[-3], found[-1]):
        assert result.message == "The server has no model `fake/lama`."
        assert f"`{MODEL}`" in result.fix


async def test_a_chosen_model_that_is_not_listed_may_still_reply(stack: FakeStack) -> None:
    found = await results(settings(stack.url, model="fake/embed"))  # which is not listed as one that chats
    checks = [(result.check, result.passed) for result in found[-3:]]
    assert checks == [("Models", False), ("Key", True), ("Reply", True)]


async def test_a_chosen_model_is_requested_also_where_the_list_of_models_is_broken(stack: FakeStack) -> None:
    stack.models = None  # type: ignore[assignment]
    found = await results(settings(stack.url, model="some/model"))
    assert "none is listed; `some/model` is chosen" in [result.message for result in found]
    assert found[-1].check == "Reply"


async def test_a_reply_without_text_passes_at_the_token_limit(stack: FakeStack) -> None:
    stack.enqueue(finish_reason="length")
    assert all(result.passed for result in await results(settings(stack.url)))


# On the console


def run(settings: Settings, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit status of the command, and what it prints."""
    status = asyncio.run(check.main(settings))
    output = capsys.readouterr()
    assert output.err == ""
    return status, output.out


def test_each_result_is_a_line_and_a_failure_ends_them(stack: FakeStack, capsys: pytest.CaptureFixture[str]) -> None:
    status, output = run(settings(f"{stack.url}/v1", check=True), capsys)
    assert status == 1
    expected = [*(["ok", check] for check in ALL[:4]), ["FAILED", "Server"]]
    assert [line.split()[:2] for line in output.splitlines()] == expected
    assert output.endswith(f"Leave /v1 off the address: {stack.url}.\n")


@pytest.mark.parametrize("passes", [True, False])
def test_for_scripts_it_is_one_json_object(stack: FakeStack, capsys: pytest.CaptureFixture[str], passes: bool) -> None:
    if not passes:
        stack.enqueue(status=401, body={})
    status, output = run(settings(stack.url, json=True), capsys)
    facts = json.loads(output)
    checks = facts.pop("checks")
    assert (status == 0, "seconds" in facts, checks[-1]["passed"]) == (passes, passes, passes)
    facts.pop("seconds", None)
    assert facts == {
        "passed": passes,
        "base_url": stack.url,
        "server": "OGX 1.5.0",
        "version": "1.5.0",
        "route": "/v1/chat/completions",
        "models": [MODEL],
        "model": MODEL,
    }
    assert checks[0] == {"check": "Address", "passed": True, "message": stack.url, "fix": ""}
