"""What kind of server is at an address, found by GET requests through the real client."""

import asyncio
from typing import Any

import httpx
import pytest

from llama_ui.core.errors import NotALlamaStack, NotListening, TimedOut
from llama_ui.core.events import Text
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, LEGACY, OPENAI_COMPATIBLE
from llama_ui.llama_stack.discovery import ServerIdentity
from tests.llama_stack.mock_server import HELLO, ROUTES, MockServer, failing, friendly, sse, status, streamed


async def test_a_server_is_known_by_its_version_and_its_best_route() -> None:
    server = MockServer(status(200, {"version": "0.2.12"}), routes=(LEGACY.route, OPENAI_COMPATIBLE.route))
    assert await server.client.discovery.identity() == ServerIdentity("0.2.12", OPENAI_COMPATIBLE)
    assert sorted(server.log) == [f"GET {ROUTES}", "GET /v1/version"]


async def test_the_last_identity_outlives_the_server() -> None:
    server = MockServer(friendly)
    server.handler, server.routes = failing(httpx.ConnectError("refused")), None
    with pytest.raises(NotListening):
        await server.client.discovery.identity(or_last=True)
    server.handler, server.routes = friendly, (LEGACY.route,)
    identity = await server.client.discovery.identity(or_last=True)
    server.handler, server.routes = failing(httpx.ConnectError("refused")), None
    assert await server.client.discovery.identity(or_last=True) == identity == ServerIdentity("1.5.0", LEGACY)


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("0.7.3", "Llama Stack 0.7.3"),
        ("0.8.0", "OGX 0.8.0"),
        ("dev", "Llama Stack dev"),
        (None, "OpenAI-compatible server"),
    ],
)
def test_the_version_decides_the_projects_name(version: str | None, name: str) -> None:
    assert ServerIdentity(version, CHAT_COMPLETIONS).name == name


@pytest.mark.parametrize("version", ["1.5.0\nok      Key", "x" * 41, "\x1b[31m", "", 5, None])
async def test_a_version_that_cannot_be_shown_is_none(version: object) -> None:
    server = MockServer(status(200, {"version": version}))
    assert (await server.client.discovery.identity()).version is None


@pytest.mark.parametrize(
    "answer",
    [
        {"status_code": 500, "json": None},
        {"status_code": 200, "html": "<!doctype html><title>An engine's page</title>"},
        {"status_code": 200, "json": {"data": None}},
    ],
    ids=["500", "HTML", "other JSON"],
)
async def test_a_server_that_does_not_list_its_routes_is_a_plain_engine(answer: dict[str, Any]) -> None:
    server = MockServer(
        lambda request: httpx.Response(**answer) if request.method == "GET" else friendly(request), routes=None
    )
    assert await server.reply() == [Text("Hello")]
    assert server.log == [f"GET {ROUTES}", f"POST {CHAT_COMPLETIONS.route}"]
    assert await server.client.discovery.identity() == ServerIdentity(None, CHAT_COMPLETIONS)


async def test_a_server_without_a_chat_route_gets_no_request() -> None:
    server = MockServer(friendly, routes=("/v1/models", "/v1/vector-io/query"))
    with pytest.raises(NotALlamaStack, match="has no chat route"):
        await server.reply()
    assert server.posts == []


class SlowLookup:
    """A handler that lists the routes, or fails, once the test lets it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.reached, self.release = asyncio.Event(), asyncio.Event()
        self._error = error

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != ROUTES:
            return streamed(sse(HELLO))
        self.reached.set()
        await self.release.wait()
        if self._error:
            raise self._error
        return httpx.Response(200, json={"data": [{"route": CHAT_COMPLETIONS.route}]})


async def test_one_lookup_serves_all_replies_also_when_the_first_visitor_leaves() -> None:
    server = MockServer(lookup := SlowLookup(), routes=None)
    leaving, *staying = [asyncio.create_task(server.reply()) for _ in range(20)]
    await lookup.reached.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    lookup.release.set()
    assert await asyncio.gather(*staying) == [[Text("Hello")]] * 19
    await server.reply()
    assert server.log.count(f"GET {ROUTES}") == 1


async def test_a_lookup_that_fails_is_an_error_for_all_callers_and_the_next_one_repeats_it() -> None:
    server = MockServer(lookup := SlowLookup(httpx.ReadTimeout("slow")), routes=None)
    replies = [asyncio.create_task(server.reply()) for _ in range(8)]
    await lookup.reached.wait()
    lookup.release.set()
    ended = await asyncio.gather(*replies, return_exceptions=True)
    assert {type(error) for error in ended} == {TimedOut}
    server.routes = (CHAT_COMPLETIONS.route,)
    assert await server.reply() == [Text("Hello")]
    assert server.log.count(f"GET {ROUTES}") == 2
