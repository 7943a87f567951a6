"""What the doctor finds of a server, step by step, on real sockets."""

import json
from collections.abc import Callable

import pytest

from llama_ui.llama_stack import check
from llama_ui.llama_stack.check import CheckResult, check_connection
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from tests.support.app_process import free_port
from tests.support.bad_servers import HTML, RawServer
from tests.support.fake_stack import MODEL, VISION_MODEL, FakeStack

pytestmark = pytest.mark.loopback

ALL = ["Address", "Name", "Connection", "HTTP", "Server", "Models", "Key", "Reply"]


def settings(url: str, **more: object) -> Settings:
    return Settings(base_url=url, no_local=True, **more)  # type: ignore[arg-type]


async def findings(given: Settings, model: str = "") -> list[CheckResult]:
    found = [finding async for finding in check_connection(given, Connection(given), model)]
    for finding in found:
        assert finding.message
        assert bool(finding.fix) is not finding.passed
        assert len(str(finding).splitlines()) == 1
    return found


async def failed(given: Settings, model: str = "") -> tuple[list[str], CheckResult]:
    """The checks that passed, and the one that did not, which is the last."""
    *passed, last = await findings(given, model)
    assert all(finding.passed for finding in passed)
    assert not last.passed
    return [finding.check for finding in passed], last


async def test_a_good_server_passes_every_check_with_one_token_asked_for(stack: FakeStack) -> None:
    found = await findings(settings(stack.url))
    assert [finding.check for finding in found] == ALL
    assert all(finding.passed for finding in found)
    told = {finding.check: finding.message for finding in found}
    assert told["Address"] == stack.url
    assert told["Server"] == "OGX 1.5.0, asked at `/v1/chat/completions`"
    assert told["Key"] == "none is set, and none is needed"
    assert told["Models"] == f"1 chat model; `{MODEL}` is chosen"
    assert "first token" in told["Reply"]
    (request,) = stack.requests
    assert (request["model"], request["max_tokens"]) == (MODEL, 1)


async def test_a_server_of_another_generation_is_named_with_its_route(stack: FakeStack) -> None:
    stack.version, stack.routes = "0.2.12", ["/v1/openai/v1/chat/completions"]
    told = {finding.check: finding.message for finding in await findings(settings(stack.url))}
    assert told["Server"] == "Llama Stack 0.2.12, asked at `/v1/openai/v1/chat/completions`"


async def test_a_plain_engine_passes_every_check(stack: FakeStack) -> None:
    stack.be_an_engine("llama")
    found = await findings(settings(stack.url))
    assert [(finding.check, finding.passed) for finding in found] == [(check, True) for check in ALL]


async def test_where_nothing_listens_the_connection_is_what_fails() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    passed, last = await failed(settings(url))
    assert passed == ["Address", "Name"]
    assert last.check == "Connection"
    assert last.message == f"No server answers at {url}."


async def test_what_closes_the_connection_without_an_answer_fails_at_http() -> None:
    with RawServer(b"", port=(port := free_port())):
        passed, last = await failed(settings(f"http://127.0.0.1:{port}"))
    assert passed == ["Address", "Name", "Connection"]
    assert last.check == "HTTP"


async def test_another_web_server_is_no_llama_stack() -> None:
    with RawServer(HTML, port=(port := free_port())):
        passed, last = await failed(settings(f"http://127.0.0.1:{port}"))
    assert passed == ["Address", "Name", "Connection", "HTTP"]
    assert last.check == "Server"
    assert "does not speak Llama Stack" in last.message


async def test_an_address_that_ends_in_v1_is_told_with_the_right_one(stack: FakeStack) -> None:
    passed, last = await failed(settings(f"{stack.url}/v1"))
    assert passed == ["Address", "Name", "Connection", "HTTP"]
    assert last.check == "Server"
    assert last.fix == f"Leave /v1 off the address: {stack.url}."


@pytest.mark.parametrize("key", [None, "sk-wrong-one"])
async def test_a_wrong_key_is_what_fails_and_is_not_shown(stack: FakeStack, key: str | None) -> None:
    stack.key = "sk-right-one"
    passed, last = await failed(settings(stack.url, api_key=key))
    assert passed == ["Address", "Name", "Connection", "HTTP", "Server"]
    assert last.check == "Key"
    assert "LLAMA_STACK_CLIENT_API_KEY" in last.fix
    assert "sk-" not in str(last)
    assert stack.requests == []


async def test_the_right_key_is_accepted(stack: FakeStack) -> None:
    stack.key = "sk-right-one"
    found = await findings(settings(stack.url, api_key="sk-right-one"))
    assert all(finding.passed for finding in found)
    assert next(finding.message for finding in found if finding.check == "Key") == "accepted"


async def test_a_server_without_a_chat_model_fails_at_the_models(stack: FakeStack) -> None:
    del stack.models[0]
    passed, last = await failed(settings(stack.url))
    assert passed == ALL[: ALL.index("Models")]
    assert (last.check, last.message) == ("Models", "The server lists no chat model.")
    assert stack.requests == []


@pytest.mark.parametrize("given", ["settings", "page"])
async def test_a_chosen_model_that_the_server_has_not_is_told_with_the_closest_and_asked_for(
    stack: FakeStack, given: str
) -> None:
    where = settings(stack.url, model="fake/lama" if given == "settings" else MODEL)
    found = await findings(where, "fake/lama" if given == "page" else "")
    assert [finding.check for finding in found if not finding.passed] == ["Models", "Reply"]
    for finding in (found[-3], found[-1]):
        assert finding.message == "The server has no model `fake/lama`."
        assert f"`{MODEL}`" in finding.fix


async def test_a_chosen_model_that_is_not_listed_and_answers_passes_its_reply(stack: FakeStack) -> None:
    """Some servers take more models than they list; this one does not list its embedding model as one that chats."""
    found = await findings(settings(stack.url, model="fake/embed"))
    assert [(finding.check, finding.passed) for finding in found[-3:]] == [
        ("Models", False),
        ("Key", True),
        ("Reply", True),
    ]


async def test_a_chosen_model_may_have_the_name_that_another_generation_gives_it(stack: FakeStack) -> None:
    found = await findings(settings(stack.url, model="llama"))
    assert all(finding.passed for finding in found)
    assert found[-3].message == f"1 chat model; `{MODEL}` is chosen"
    assert stack.requests[-1]["model"] == MODEL


async def test_of_many_models_the_one_to_begin_with_is_asked(stack: FakeStack) -> None:
    stack.models.append({**stack.models[0], "id": VISION_MODEL})
    found = await findings(settings(stack.url))
    assert found[-3].message == f"2 chat models; `{VISION_MODEL}` is chosen"
    assert stack.requests[-1]["model"] == VISION_MODEL


async def test_an_engine_that_fails_behind_a_good_server_is_told_at_the_reply(stack: FakeStack) -> None:
    stack.enqueue(status=500, body={"detail": "Error code: 503 - {'error': 'loading'}"})
    passed, last = await failed(settings(stack.url))
    assert passed == ALL[:-1]
    assert last.check == "Reply"
    assert last.message == "The model engine behind the server is not available (503): `loading`."


@pytest.mark.parametrize("address", ["nonsense", "localhost:8321", "ftp://stack.test"])
async def test_an_address_that_is_none_is_the_first_thing_that_fails(address: str) -> None:
    passed, last = await failed(settings(address))
    assert (passed, last.check) == ([], "Address")
    assert f"`{address}`" in last.message
    assert "--base-url" in last.fix


# On the console


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[[Settings], tuple[int, str]]:
    def run(given: Settings) -> tuple[int, str]:
        status = check.main(given)
        printed = capsys.readouterr()
        assert printed.err == ""
        return status, printed.out

    return run


def test_each_finding_is_a_line_and_the_status_says_whether_all_passed(
    stack: FakeStack, run: Callable[[Settings], tuple[int, str]]
) -> None:
    status, printed = run(settings(stack.url, check=True))
    assert status == 0
    assert [line.split()[:2] for line in printed.splitlines()] == [["ok", check] for check in ALL]
    assert "`" not in printed

    status, printed = run(settings(f"{stack.url}/v1", check=True))
    assert status == 1
    *passed, last = printed.splitlines()
    assert {line.split()[0] for line in passed} == {"ok"}
    assert last.split()[:2] == ["FAILED", "Server"]
    assert last.endswith(f"Leave /v1 off the address: {stack.url}.")


def test_for_scripts_it_is_one_json_object(stack: FakeStack, run: Callable[[Settings], tuple[int, str]]) -> None:
    status, printed = run(settings(stack.url, json=True))
    told = json.loads(printed)
    assert status == 0
    assert told.pop("seconds") >= 0
    checks = told.pop("checks")
    assert told == {
        "passed": True,
        "base_url": stack.url,
        "server": "OGX 1.5.0",
        "version": "1.5.0",
        "route": "/v1/chat/completions",
        "models": [MODEL],
        "model": MODEL,
    }
    assert [check["check"] for check in checks] == ALL
    assert checks[0] == {"check": "Address", "passed": True, "message": stack.url, "fix": ""}


def test_for_scripts_a_failure_is_json_too(run: Callable[[Settings], tuple[int, str]]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    status, printed = run(settings(url, json=True))
    told = json.loads(printed)
    assert status == 1
    assert (told["passed"], told["base_url"]) == (False, url)
    assert "server" not in told and "models" not in told
    assert told["checks"][-1] == {
        "check": "Connection",
        "passed": False,
        "message": f"No server answers at {url}.",
        "fix": "Check that it runs and that the address is right.",
    }


@pytest.mark.parametrize("finish_reason", ["stop", "content_filter"])
async def test_a_reply_without_a_token_does_not_pass(stack: FakeStack, finish_reason: str) -> None:
    stack.enqueue(finish_reason=finish_reason)
    passed, last = await failed(settings(stack.url))
    assert passed == ALL[:-1]
    assert (last.check, last.message) == ("Reply", f"The reply was empty; it ended with `{finish_reason}`.")


async def test_a_key_that_is_wanted_only_for_the_reply_is_what_fails(stack: FakeStack) -> None:
    stack.enqueue(status=401, body={"error": {"message": "no"}})
    passed, last = await failed(settings(stack.url))
    assert passed == ALL[: ALL.index("Key")]
    assert (last.check, last.message) == ("Key", "The server wants a key.")


async def test_where_the_list_of_models_is_broken_the_chosen_one_is_asked_all_the_same(stack: FakeStack) -> None:
    stack.models = None  # type: ignore[assignment]
    found = await findings(settings(stack.url, model="some/model"))
    assert ("Models", False) in [(finding.check, finding.passed) for finding in found]
    assert found[-1].check == "Reply"
