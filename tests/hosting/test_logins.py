"""Who may come in, and what guessing gets."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import HTTPException

from llama_ui.hosting import logins
from llama_ui.hosting.logins import ADDRESS, Logins
from tests.support.app_process import AppProcess
from tests.support.fake_stack import FakeStack, Hold
from tests.support.page import ask, served

pytestmark = pytest.mark.loopback
SECONDS = 20.0
KNOWN = (("alice", "wonder:land"), ("bob", "pässword"))


@pytest.fixture
def url(stack: FakeStack) -> Iterator[str]:
    with served(base_url=stack.url, auth=KNOWN[:1], auth_pairs=KNOWN[1:], trusted_proxies="127.0.0.1") as url:
        yield url.rstrip("/")


def visitor(url: str, address: str = "203.0.113.5") -> httpx.Client:
    return httpx.Client(base_url=url, timeout=SECONDS, headers={"x-forwarded-for": address}, trust_env=False)


def login(http: httpx.Client, user: str, password: str) -> httpx.Response:
    return http.post("/login", data={"username": user, "password": password})


def test_without_a_login_nothing_can_be_asked_or_read(url: str, stack: FakeStack) -> None:
    http = visitor(url)
    for path in ("/config", "/gradio_api/info", "/gradio_api/queue/data?session_hash=x", "/gradio_api/call/chat/x"):
        assert http.get(path).status_code == 401
    for path in ("/gradio_api/call/chat", "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/upload"):
        assert http.post(path, json={"data": ["Hi"], "fn_index": 0, "session_hash": "x"}).status_code == 401
    page = http.get("/")
    assert page.is_success and "fake/llama" not in page.text and stack.url not in page.text
    assert stack.requests == []


def test_without_a_login_nobody_ends_a_reply_that_is_being_given(url: str, stack: FakeStack) -> None:
    http, stranger = visitor(url), visitor(url)
    assert login(http, *KNOWN[0]).is_success
    http.cookies = httpx.Cookies({name: value for name, value in http.cookies.items()})
    hold = Hold()
    stack.enqueue("half ", hold, "whole")
    function = next(it["id"] for it in http.get("/config").json()["dependencies"] if it["api_name"] == "chat")
    call = {"data": [{"text": "Hi", "files": []}, [], *[None] * 8], "fn_index": function, "session_hash": "a-program"}
    event = http.post("/gradio_api/queue/join", json=call).json()["event_id"]
    assert hold.reached.wait(SECONDS)
    theirs = {"session_hash": "a-program", "fn_index": function, "event_id": event}
    for path in ("cancel", "reset"):
        assert stranger.post(f"/gradio_api/{path}", json=theirs).status_code == 401
    assert stranger.get("/gradio_api/heartbeat/a-program").status_code == 401
    hold.release.set()
    assert "half whole" in http.get("/gradio_api/queue/data?session_hash=a-program").text


def test_a_login_as_long_as_a_book_is_not_read(url: str) -> None:
    assert login(visitor(url), "alice", "x" * 20_000).status_code == 413


@pytest.mark.parametrize(("user", "password"), KNOWN)
def test_each_user_comes_in_with_the_own_password(url: str, user: str, password: str) -> None:
    http = visitor(url)
    assert login(http, user, password).json() == {"success": True}
    http.cookies = httpx.Cookies({name: value for name, value in http.cookies.items()})  # http is as good here
    assert http.get("/config").is_success
    assert "Hello there." in ask(http, "Hi")


@pytest.mark.parametrize(
    ("user", "password"),
    [("alice", "pässword"), ("alice", ""), ("", ""), ("ALICE", "wonder:land"), ("alice", "wonder:land\n"), ("x", "y")],
)
def test_another_s_password_or_none_does_not_let_in(url: str, user: str, password: str) -> None:
    http = visitor(url)
    assert not login(http, user, password).is_success
    assert http.get("/config").status_code == 401


def test_after_several_wrong_passwords_nobody_guesses_on_for_a_while(url: str) -> None:
    guesses = visitor(url)
    assert [login(guesses, "alice", f"guess {number}").status_code for number in range(5)] == [400] * 5
    refused = login(guesses, "alice", "wonder:land")  # not even with the right one
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 61
    assert "Too many failed logins. Wait " in refused.text
    # Who is elsewhere, and who has another name, is not kept out.
    assert login(visitor(url, "203.0.113.6"), "alice", "wonder:land").is_success
    assert login(guesses, "bob", "pässword").is_success


def test_trying_many_names_is_slowed_down_too(url: str) -> None:
    guesses = visitor(url)
    codes = [login(guesses, f"user {number}", "password").status_code for number in range(32)]
    assert codes == [400] * 30 + [429] * 2


async def test_those_who_know_their_password_are_never_slowed_down() -> None:
    known = Logins(KNOWN)
    assert all([await known.check(*KNOWN[0]) for _ in range(100)])


async def test_all_pairs_are_compared_whatever_was_found_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a function that takes as long for a wrong first letter as for a wrong last one."""
    compared = []
    compare = logins.hmac.compare_digest

    def counted(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return compare(a, b)

    monkeypatch.setattr(logins.hmac, "compare_digest", counted)
    known = Logins(KNOWN)
    for user, password in (KNOWN[0], ("nobody", "x"), ("alice", "x" * 1000)):
        compared.clear()
        await known.check(user, password)
        assert compared == [(32, 32)] * 4


async def test_the_slowdown_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Logins(KNOWN)
    ADDRESS.set("203.0.113.7")
    for _ in range(5):
        assert not await known.check("alice", "wrong")
    with pytest.raises(HTTPException):
        await known.check("alice", "wonder:land")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert await known.check("alice", "wonder:land")


def test_passwords_are_read_from_a_file_and_shown_nowhere(tmp_path: Path, stack: FakeStack) -> None:
    file = tmp_path / "logins.txt"
    file.write_text("# the team\nalice:wonder:land\n")
    arguments = ("--base-url", stack.url, "--auth", str(file), "--trusted-proxies", "127.0.0.1")
    with AppProcess(arguments, {"LLAMA_UI_AUTH": "bob:pässword"}, tmp_path) as app:
        app.await_line("Server: ")
        for user, password in KNOWN:
            assert login(visitor(app.url), user, password).is_success
        assert login(visitor(app.url), "alice", "wrong").status_code == 400
        command = Path(f"/proc/{app.process.pid}/cmdline")
        if command.exists():
            assert b"wonder" not in command.read_bytes()
    printed = "".join(app.output)
    assert "wonder" not in printed and "pässword" not in printed
    assert "--auth" not in printed  # there is no warning where there is a login


def test_a_password_given_on_the_command_line_is_not_taken_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as failure, AppProcess(("--auth", "alice:wonderland"), {}, tmp_path):
        pass
    assert "--auth" in str(failure.value) and "read by others" in str(failure.value)
    assert "wonderland" not in str(failure.value)
