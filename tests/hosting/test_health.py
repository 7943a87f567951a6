"""What an operator sees: /healthz, /readyz and /metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from llama_ui.hosting import health
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from tests.support import SECONDS
from tests.support.fake_stack import FakeStack
from tests.support.page import served

pytestmark = pytest.mark.loopback


@asynccontextmanager
async def routes(**values: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the routes alone, in this event loop, once the server is known or known to be missing."""
    settings = Settings(**values)
    connection = Connection(settings)
    app = Starlette(routes=health.routes(connection, Turns(settings, connection)))
    await asyncio.wait([asyncio.wrap_future(connection.start())])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as http:
        yield http
    connection.close()


async def test_the_app_is_alive_but_not_ready_while_its_server_is_down(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CACHE_SECONDS", 0.0)
    async with routes(base_url=stack.url) as http:
        assert (await http.get("/readyz")).text == "ready\n"
        stack.stop()
        assert (await http.get("/healthz")).text == "ok\n"
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "not ready: NotListening\n")
        with FakeStack(stack.port):
            assert (await http.get("/readyz")).status_code == 200


async def test_the_app_is_not_ready_while_its_server_does_not_answer_in_time(
    monkeypatch: pytest.MonkeyPatch, stack: FakeStack
) -> None:
    monkeypatch.setattr(health, "CHECK_TIMEOUT", 0.0)
    async with routes(base_url=stack.url) as http:
        assert (await http.get("/readyz")).text == "not ready: TimedOut\n"


async def test_many_readiness_checks_at_once_are_one_request_to_the_server(stack: FakeStack) -> None:
    async with routes(base_url=stack.url) as http:
        answers = await asyncio.gather(*(http.get("/readyz") for _ in range(40)))
    assert {answer.text for answer in answers} == {"ready\n"}
    assert stack.calls.count("GET /v1/models") == 1


async def test_readiness_checks_do_not_repeat_a_failed_connection_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt might start the local stack, and anybody may check."""
    monkeypatch.setattr(health, "CACHE_SECONDS", 0.0)
    monkeypatch.setattr("llama_ui.llama_stack.connection.DEFAULT_URLS", ())
    attempts = []
    attempt = Connection._connect
    monkeypatch.setattr(Connection, "_connect", lambda self: attempts.append(self) or attempt(self))
    async with routes(no_local=True) as http:
        assert {(await http.get("/readyz")).text for _ in range(5)} == {"not ready: NoServer\n"}
        assert len(attempts) == 1
        monkeypatch.setattr("llama_ui.llama_stack.connection.RETRY", 0.0)
        await http.get("/readyz")
    assert len(attempts) == 2


def measured(url: str) -> dict[tuple[str, ...], float]:
    """Returns the metrics of an app by name and label values."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_metrics_count_the_open_pages(stack: FakeStack) -> None:
    with (
        served(base_url=stack.url) as url,
        httpx.stream("GET", f"{url}gradio_api/heartbeat/a-session", timeout=SECONDS) as page,
    ):
        beats = page.iter_text()  # dropping it would close the stream
        assert "ALIVE" in next(beats)
        assert measured(url.rstrip("/"))["llama_ui_visitors",] == 1
