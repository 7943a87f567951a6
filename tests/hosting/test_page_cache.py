"""The page is made once for all visitors who reach it under the same address."""

from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from llama_ui.hosting.page_cache import MAX_PAGES, PageCache
from tests.support.page import served


class Pages:
    """An app behind the cache, which counts how often it is asked."""

    def __init__(self) -> None:
        self.count = 0
        self.status = 200
        routes = [Route("/{path:path}", self._answer, methods=["GET", "HEAD", "POST"])]
        transport = httpx.ASGITransport(PageCache(Starlette(routes=routes)))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://one.test")

    async def _answer(self, request: Request) -> Response:
        self.count += 1
        return PlainTextResponse(f"{request.url.path} for {request.headers['host']}", self.status)


@pytest.fixture
def pages() -> Iterator[Pages]:
    yield Pages()


async def test_each_page_is_made_once_for_each_address(pages: Pages) -> None:
    for _ in range(2):
        for path in ("/", "/config"):
            for host in ("one.test", "two.test"):
                answer = await pages.http.get(path, headers={"host": host})
                assert answer.text == f"{path} for {host}"
    assert pages.count == 4
    await pages.http.get("/?message=Hi")  # a link, which the page reads in the browser
    assert pages.count == 4
    for name in ("x-forwarded-host", "x-forwarded-proto"):
        await pages.http.get("/", headers={name: "other"})
    assert pages.count == 6


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/other"),
        ("POST", "/config"),
        ("HEAD", "/"),
        ("GET", "/?deep_link=1"),
        ("GET", "/?deep%5Flink=1"),
        ("GET", "/config?page=x"),
    ],
)
async def test_everything_else_is_asked_each_time(pages: Pages, method: str, path: str) -> None:
    for _ in range(2):
        await pages.http.request(method, path)
    assert pages.count == 2


async def test_a_failure_is_not_kept(pages: Pages) -> None:
    pages.status = 503
    assert (await pages.http.get("/")).status_code == 503
    pages.status = 200
    assert (await pages.http.get("/")).status_code == 200


async def test_strangers_cannot_fill_the_memory(pages: Pages) -> None:
    for number in range(MAX_PAGES + 1):
        await pages.http.get("/", headers={"host": f"{number}.test"})
    await pages.http.get("/", headers={"host": "0.test"})
    assert pages.count == MAX_PAGES + 2


@pytest.mark.loopback
def test_a_kept_page_is_the_one_that_gradio_makes() -> None:
    with served(no_local=True) as url:
        for path in ("", "config"):
            answers = [httpx.get(f"{url}{path}", timeout=60) for _ in range(2)]
            assert answers[0].text == answers[1].text
            policies = {answer.headers["content-security-policy"] for answer in answers}
            assert len(policies) == 1
    with served(no_local=True, auth_pairs=(("ada", "secret"),)) as url:
        assert "auth_required" in httpx.get(url, timeout=60).text
