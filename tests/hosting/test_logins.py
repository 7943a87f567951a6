"""Login with `--auth`, and what happens to somebody who guesses passwords."""

import time
from pathlib import Path

import httpx
import pytest
from fastapi import HTTPException

from llama_ui.hosting import logins
from llama_ui.hosting.logins import ADDRESS, Logins
from llama_ui.settings import load
from tests.support import SECONDS
from tests.support.fake_stack import FakeStack, Hold
from tests.support.page import ask

pytestmark = pytest.mark.loopback
ALICE, BOB = ("alice", "wonder:land"), ("bob", "pässword")
# Logins from a file and from the environment. Each test has an address of its own.
PAGE = {"auth": [ALICE], "auth_pairs": [BOB], "trusted_proxies": "127.0.0.1"}


def visitor(url: str, address: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=SECONDS, headers={"x-forwarded-for": address}, trust_env=False)


def login(http: httpx.Client, user: str, password: str) -> httpx.Response:
    answer = http.post("/login", data={"username": user, "password": password})
    # httpx does not send secure cookies over http; browsers do to localhost.
    http.cookies = httpx.Cookies({name: value for name, value in http.cookies.items()})
    return answer


def test_without_a_login_nothing_can_be_sent_or_read(url: str, page_stack: FakeStack) -> None:
    http = visitor(url, "203.0.113.1")
    for path in ("/config", "/gradio_api/info", "/gradio_api/queue/data?session_hash=x", "/gradio_api/call/chat/x"):
        assert http.get(path).status_code == 401
    for path in ("/gradio_api/call/chat", "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/upload"):
        assert http.post(path, json={"data": ["Hi"], "fn_index": 0, "session_hash": "x"}).status_code == 401
    page = http.get("/")
    assert page.is_success and "fake/llama" not in page.text and page_stack.url not in page.text
    assert page_stack.requests == []


def test_without_a_login_nobody_can_end_a_running_reply(url: str, page_stack: FakeStack) -> None:
    http, stranger = visitor(url, "203.0.113.2"), visitor(url, "203.0.113.2")
    assert login(http, *ALICE).is_success
    hold = Hold()
    page_stack.enqueue("half ", hold, "whole")
    function = next(it["id"] for it in http.get("/config").json()["dependencies"] if it["api_name"] == "chat")
    call = {"data": [{"text": "Hi", "files": []}, [], *[None] * 17], "fn_index": function, "session_hash": "a-program"}
    event = http.post("/gradio_api/queue/join", json=call).json()["event_id"]
    assert hold.reached.wait(SECONDS)
    theirs = {"session_hash": "a-program", "fn_index": function, "event_id": event}
    for path in ("cancel", "reset"):
        assert stranger.post(f"/gradio_api/{path}", json=theirs).status_code == 401
    assert stranger.get("/gradio_api/heartbeat/a-program").status_code == 401
    hold.release.set()
    assert "half whole" in http.get("/gradio_api/queue/data?session_hash=a-program").text


def test_an_oversized_login_is_not_read(url: str) -> None:
    assert login(visitor(url, "203.0.113.3"), "alice", "x" * 20_000).status_code == 413


@pytest.mark.parametrize(("user", "password"), [ALICE, BOB])
def test_each_user_logs_in_with_their_password(url: str, user: str, password: str, page_stack: FakeStack) -> None:
    http = visitor(url, "203.0.113.4")
    assert login(http, user, password).json() == {"success": True}
    assert http.get("/config").is_success
    assert "Hello there." in ask(http, "Hi")


@pytest.mark.parametrize(
    ("user", "password"),
    [("alice", BOB[1]), ("", ""), ("ALICE", ALICE[1]), ("alice", f"{ALICE[1]}\n")],
)
async def test_any_other_password_is_refused(user: str, password: str) -> None:
    assert not await Logins([ALICE, BOB]).check(user, password)


def test_after_five_failures_for_a_user_no_password_is_checked_for_a_while(
    url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    http = visitor(url, "203.0.113.5")
    assert [login(http, "alice", f"guess {number}").status_code for number in range(5)] == [400] * 5
    assert http.get("/config").status_code == 401
    refused = login(http, *ALICE)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert "Too many failed logins. Wait " in refused.text
    assert login(visitor(url, "203.0.113.6"), *ALICE).is_success
    assert login(http, *BOB).is_success
    printed = capfd.readouterr()
    assert not any(word in printed.out + printed.err + caplog.text for word in ("guess", "wonder"))


async def test_failures_for_many_users_are_limited_too_and_for_a_minute_only(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = Logins([ALICE])
    ADDRESS.set("203.0.113.7")
    for number in range(30):
        assert not await limited.check(f"user {number}", "password")
    with pytest.raises(HTTPException):
        await limited.check(*ALICE)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert await limited.check(*ALICE)


async def test_all_pairs_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `compare_digest`, on digests of equal length, whichever pair matches."""
    compared = []
    compare = logins.hmac.compare_digest

    def count(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return compare(a, b)

    monkeypatch.setattr(logins.hmac, "compare_digest", count)
    for user, password in (ALICE, ("nobody", "x"), ("alice", "x" * 1000)):
        compared.clear()
        await Logins([ALICE, BOB]).check(user, password)
        assert compared == [(32, 32)] * 4


def test_a_password_on_the_command_line_is_refused_and_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        load(["--auth", "alice:wonderland"], {}, tmp_path / ".env")
    printed = capsys.readouterr().err
    assert "--auth" in printed and "read by others" in printed
    assert "wonderland" not in printed
