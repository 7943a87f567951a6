"""The checks on every request: which routes exist, who may use them from where, and how large a request may be."""

import contextlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_ui.hosting import security
from llama_ui.hosting.security import is_own_host
from tests.support import SECONDS
from tests.support.fake_stack import FakeStack
from tests.support.page import ask, event_id, raw, reply_event, served

pytestmark = pytest.mark.loopback
KEY = "s3cr3t-k3y-0f-the-server"
# A page that strangers may come to. All tests come from one address, within minutes.
PAGE = {"api_key": KEY, "trusted_proxies": "127.0.0.1", "visitors_per_address": 1000}
CLOSED = [
    "/gradio_api/runs",
    "/gradio_api/runs/",
    "/gradio_api/file=/etc/passwd",
    "/file=requirements.txt",
    "/gradio_api/proxy=http://127.0.0.1:9/",
    "/gradio_api/deep_link",
    "/gradio_api/stream/x/1/1/playlist.m3u8",
    "/gradio_api/component_server",
    "/custom_component/x/y/z/w",
    "/docs",
]
TRAVERSALS = [
    "/static/../../../../../../etc/passwd",
    "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
    "//etc/passwd",
    "/static/fonts/../../../../../../../../etc/passwd%00.css",
]


@pytest.fixture(scope="module")
def own(module_stack: FakeStack) -> Iterator[str]:
    """A page of one's own machine."""
    with served(base_url=module_stack.url, api_key=KEY) as url:
        yield url.rstrip("/")


def get(url: str, path: str, host: str) -> bytes:
    """The response to a request for exactly this path and host: a client library would normalize them."""
    return raw(url, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())


def test_a_route_that_the_page_does_not_need_is_closed(url: str) -> None:
    for method, path in itertools.product(("GET", "POST"), CLOSED):
        answer = httpx.request(method, url + path, timeout=SECONDS)
        assert (answer.status_code, "There is nothing here." in answer.text) == (404, True), path
    assert httpx.get(f"{url}/gradio_api/info/", follow_redirects=True).is_success


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out_of_the_page_s_own_files(url: str, path: str) -> None:
    answer = get(url, path, "localhost")
    assert answer.split(b" ")[1] in (b"400", b"403", b"404")
    assert b"root:" not in answer


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/metrics", "/readyz"])
def test_the_server_s_key_is_in_nothing_that_a_visitor_can_read(url: str, path: str) -> None:
    answer = httpx.get(url + path, timeout=SECONDS)
    assert answer.is_success
    assert KEY not in answer.text + str(answer.headers)


def test_no_visitor_can_change_the_server(url: str) -> None:
    """No parameter, position, header, model or link of a visitor's leads the app, and its key, elsewhere."""
    with FakeStack() as elsewhere, httpx.Client(base_url=url, timeout=SECONDS, trust_env=False) as http:
        for name in ("base_url", "api_key", "url", "server", "LLAMA_STACK_CLIENT_BASE_URL"):
            refused = http.post("/gradio_api/call/v2/chat", json={"message": "Hi", name: elsewhere.url})
            assert refused.status_code == 422 and f"`{name}` is not a valid" in refused.json()["detail"]
            http.get("/", params={name: elsewhere.url})
        for header in ("x-gradio-server", "x-forwarded-host", "x-forwarded-server", "base-url"):
            http.headers[header] = elsewhere.url
        assert "Hello there." in ask(http, "Hi")
        for option in ("system_prompt", "model", "temperature", "reasoning_effort"):
            assert ask(http, "Hi", **{option: elsewhere.url})
        assert elsewhere.calls == []
    config = httpx.get(f"{url}/config").json()
    labels = {str(item["props"].get("label")) for item in config["components"]}
    info = httpx.get(f"{url}/gradio_api/info").json()["named_endpoints"]["/chat"]["parameters"]
    assert not [name for name in labels | {item["label"] for item in info} if re.search(r"(?i)\burl|address|key", name)]


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"origin": "http://evil.test"}, False),
        ({"origin": "null"}, False),
        ({"origin": "{url}"}, True),
        ({"origin": "{url}", "sec-fetch-site": "cross-site"}, False),
    ],
)
def test_a_page_of_another_site_can_neither_send_nor_upload_nor_read(
    url: str, headers: dict[str, str], allowed: bool
) -> None:
    sent = {name: value.format(url=url) for name, value in headers.items()}
    with httpx.Client(base_url=url, headers=sent, timeout=SECONDS) as http:
        for answer in (
            http.post("/gradio_api/call/chat", json={"data": ["Hi"]}),
            http.post("/gradio_api/upload", files={"files": ("a.txt", b"x")}),
            http.get("/config"),
        ):
            assert (answer.status_code != 403) is allowed
            assert ("another site" in answer.text) is not allowed


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-dest": "image", "sec-fetch-site": "same-origin"}, {"accept": "image/avif,image/webp,*/*;q=0.8"}],
    ids=["https", "http"],
)
def test_an_image_in_a_reply_can_request_static_files_only(url: str, headers: dict[str, str]) -> None:
    """Others would log the reader out, or hold connections open."""
    for path in ("/logout", "/gradio_api/heartbeat/x", "/gradio_api/queue/data?session_hash=x", "/?message=x"):
        assert httpx.get(url + path, headers=headers, timeout=SECONDS).status_code == 403
    for path in ("/static/img/logo.svg", "/favicon.ico"):
        assert httpx.get(url + path, headers=headers, timeout=SECONDS).is_success


def test_a_url_has_a_limit_that_keeps_session_names_short(url: str) -> None:
    for path in (f"heartbeat/{'x' * 2000}", f"queue/data?session_hash={'x' * 2000}"):
        assert httpx.get(f"{url}/gradio_api/{path}", timeout=SECONDS).status_code == 414


def test_a_long_link_to_the_page_works(url: str) -> None:
    """Gradio's page repeats the link's query whenever it sends something."""
    link = {"message": "é" * 1300}
    assert httpx.get(url, params=link).is_success
    join = {"data": [[], []], "fn_index": event_id(url, "differences"), "session_hash": "linked"}
    assert httpx.post(f"{url}/gradio_api/queue/join", params=link, json=join, timeout=SECONDS).is_success


def test_a_link_on_another_site_opens_the_page(url: str) -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert httpx.get(f"{url}/?message=Hi", headers=followed).is_success


@pytest.mark.parametrize("host", ["evil.test:7860", "127.0.0.1.evil.test", "localhost.evil.test", "", "["])
def test_without_public_access_another_host_name_is_refused(own: str, host: str) -> None:
    """DNS rebinding: such a page is of the same origin for its browser."""
    answer = get(own, "/config", host)
    assert answer.startswith(b"HTTP/1.1 421 ") and b"--trusted-proxies" in answer


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:7860", "LOCALHOST", "a.localhost", "my-laptop:1"])
def test_the_machine_s_own_names_work(host: str) -> None:
    assert is_own_host(host, "my-laptop")


def test_behind_a_proxy_every_host_name_works(url: str) -> None:
    assert get(url, "/healthz", "chat.test").startswith(b"HTTP/1.1 200")


def test_every_response_has_security_headers(url: str) -> None:
    for path in ("/", "/config", "/gradio_api/runs", "/static/img/logo.svg"):
        headers = httpx.get(url + path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_inserted_script(url: str) -> None:
    policy = httpx.get(url).headers["content-security-policy"]
    rules = {name: values for name, *values in map(str.split, policy.split(";"))}
    for name in ("img-src", "style-src", "media-src", "font-src", "connect-src", "form-action"):
        assert not [value for value in rules[name] if "//" in value or value in ("*", "https:", "http:")]
    assert rules["frame-src"] == rules["object-src"] == ["'none'"]
    assert rules["frame-ancestors"] == ["'self'"]
    assert "'unsafe-inline'" not in rules["script-src"]


def test_on_a_space_hugging_face_may_frame_the_page(stack: FakeStack) -> None:
    with served(base_url=stack.url, space=True) as url:
        policy = httpx.get(url).headers["content-security-policy"]
    assert "frame-ancestors https://huggingface.co https://*.hf.space" in policy


def test_a_request_that_is_too_large_is_refused_before_it_is_read(url: str) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(security.MAX_BODY // 1_000_000 + 1):
            yield b" " * 1_000_000

    with contextlib.suppress(httpx.WriteError):  # it is not read to its end
        answer = httpx.post(f"{url}/gradio_api/call/chat", content=body(), timeout=SECONDS)
        assert answer.status_code == 413 and "too large" in answer.text
    assert httpx.get(f"{url}/healthz").text == "ok\n"


def test_a_file_that_is_too_large_is_refused(url: str) -> None:
    answer = httpx.post(f"{url}/gradio_api/upload", files={"files": ("a.txt", b"x" * 27_000_000)}, timeout=SECONDS)
    assert answer.status_code == 413


def test_no_local_file_is_handed_out(url: str, page_stack: FakeStack, tmp_path: Path) -> None:
    """Not even where Gradio, mounted, would take the path of any file for that of an upload."""
    (tmp_path / "secret.txt").write_text("a secret")
    file = {"path": str(tmp_path / "secret.txt"), "meta": {"_type": "gradio.FileData"}}
    assert "The request cannot be read." in ask(url, {"text": "Hi", "files": [file]})
    assert "a secret" not in str(page_stack.requests)


def test_a_path_in_a_file_name_does_not_change_where_it_is_stored(url: str) -> None:
    answer = httpx.post(f"{url}/gradio_api/upload", files={"files": ("../../../etc/evil.txt", b"x")}, timeout=SECONDS)
    assert ".." not in answer.text and "/etc/" not in answer.text


def test_requests_and_uploads_of_one_address_are_limited_and_others_go_on(stack: FakeStack) -> None:
    most = security.REQUESTS_PER_MESSAGE * security.MIN_MESSAGES
    with (
        served(base_url=stack.url, trusted_proxies="127.0.0.1", messages_per_minute=1) as url,
        httpx.Client(base_url=url, timeout=SECONDS, headers={"x-forwarded-for": "203.0.113.5"}) as flood,
        httpx.Client(base_url=url, timeout=SECONDS, headers={"x-forwarded-for": "203.0.113.6"}) as other,
    ):
        reset: dict[str, Any] = {"url": "gradio_api/reset", "json": {"event_id": "nothing"}}
        *answers, last = [flood.post(**reset) for _ in range(most + 1)]
        assert {answer.status_code for answer in answers} == {200}
        assert last.status_code == 429 and last.headers["retry-after"] == "60"
        assert "too many requests from your network. Wait" in last.json()["detail"]
        assert other.post(**reset).is_success
        # The bytes are counted, too, with and without a Content-Length.
        file = {"files": ("a.txt", b"x" * 20_000_000)}
        assert [other.post("gradio_api/upload", files=file).status_code for _ in range(3)] == [200, 200, 429]
        assert other.post("gradio_api/queue/join", content=iter([b" " * 1_000_000] * 20)).status_code == 429


def test_no_reply_bypasses_the_queue(url: str, page_stack: FakeStack) -> None:
    """Nothing would end it when its visitor leaves."""
    message = {"role": "user", "content": "around the queue"}
    event = reply_event(httpx.get(f"{url}/config").json())
    call = {"data": [[message]], "session_hash": "x", "fn_index": event}
    for path in ("run/predict", "run/chat", "api/chat", "api/predict"):
        assert httpx.post(f"{url}/gradio_api/{path}", json=call).status_code == 404
    assert "around the queue" not in str(page_stack.requests)


def test_concurrent_requests_of_one_address_are_limited_and_others_go_on(stack: FakeStack) -> None:
    headers = {"x-forwarded-for": "203.0.113.5"}
    with (
        served(base_url=stack.url, trusted_proxies="127.0.0.1", visitors_per_address=1) as url,
        contextlib.ExitStack() as pages,
    ):
        beats = []
        for number in range(security.REQUESTS_PER_VISITOR):
            page = httpx.stream("GET", f"{url}gradio_api/heartbeat/page-{number}", headers=headers, timeout=SECONDS)
            beats.append(pages.enter_context(page).iter_text())
            assert "ALIVE" in next(beats[-1])
        refused = httpx.get(url, headers=headers)
        assert refused.status_code == 429 and "Too many pages are open in your network." in refused.text
        assert httpx.get(url, headers={"x-forwarded-for": "203.0.113.6"}).is_success
        pages.close()
        while httpx.get(url, headers=headers).status_code == 429:  # until the app has noticed; else the test times out
            pass


# Requests that Gradio answers with an exception, and one whose option would forge a log line.
FAILING: list[tuple[str, dict[str, Any], int]] = [
    ("call/v2/chat", {"x\nts=2026-11-27 event=turn id=FORGED outcome=answered\n\x1b[2J": 1}, 422),
    ("call/v2/nothing", {}, 500),
    ("queue/join", {"data": [], "fn_index": 9999, "session_hash": "x"}, 500),
]


@pytest.mark.parametrize(("path", "sent", "status"), FAILING)
def test_an_exception_is_an_id_for_the_visitor_and_a_short_entry_in_the_log(
    url: str, path: str, sent: dict[str, Any], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = httpx.post(f"{url}/gradio_api/{path}", json=sent, timeout=SECONDS)
    assert answer.status_code == status
    if status == 500:
        (reference,) = re.findall(r"^Something went wrong in this app \(error (\w+)\)\.", answer.json()["detail"])
        (record,) = caplog.records
        assert record.getMessage() == f"Error {reference} while answering a request"
    assert "FORGED" not in caplog.text


def test_only_a_proxy_can_set_the_public_address(own: str) -> None:
    headers = {"x-forwarded-host": "evil.test", "x-forwarded-proto": "https", "x-gradio-server": "http://evil.test"}
    for path in ("/", "/config", "/gradio_api/info"):
        assert "evil.test" not in httpx.get(own + path, headers=headers, timeout=SECONDS).text
    assert "evil.test" not in httpx.get(f"{own}/logout", headers=headers).headers["location"]
