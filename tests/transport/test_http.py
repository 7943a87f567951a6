"""Failures on the way to a server are told apart: on real sockets, through the transport of direct connections."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from llama_ui.core import errors
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.llama_stack.client import LlamaStackClient
from llama_ui.transport.http import http_client
from tests.support.bad_servers import self_signed
from tests.support.raw_stack import Answer, raw_stack

pytestmark = pytest.mark.loopback
HELLO = b'data: {"choices": [{"delta": {"content": "Hello"}}]}\n\n'


async def failure(url: str) -> errors.ServerError:
    client = LlamaStackClient(url, timeout=60)
    with pytest.raises(errors.ServerError) as failed:
        async for _ in client.stream("m", [Message("user", "Hi.")], SamplingOptions()):
            pass
    await client.aclose()
    return failed.value


@asynccontextmanager
async def listener(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that answers any request with these bytes, and closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_port_where_nothing_listens() -> None:
    async with listener(b"") as port:
        pass
    assert type(await failure(f"http://127.0.0.1:{port}")) is errors.NotListening


async def test_a_name_that_does_not_resolve() -> None:
    assert type(await failure("http://no-such-host.invalid")) is errors.NameNotFound


async def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(self_signed(tmp_path / "certificate.pem"))
    async with listener(b"", tls) as port:
        error = await failure(f"https://127.0.0.1:{port}")
    assert type(error) is errors.TLSMismatch and "cannot be trusted" in error.sentence


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n"])
async def test_a_connection_that_ends_without_an_answer(answer: bytes) -> None:
    async with listener(answer) as port:
        assert type(await failure(f"http://127.0.0.1:{port}")) is errors.NoAnswer


async def test_a_connection_that_is_lost_in_the_middle() -> None:
    async with raw_stack(Answer((HELLO,), breaks=True)) as stack:
        error = await failure(stack.url)
    assert type(error) is errors.ConnectionLost and "in the middle of the reply" in error.sentence


async def test_a_long_header_is_taken() -> None:
    headers = {"content-type": "text/event-stream", "set-cookie": "session=" + "x" * 12_000}
    async with raw_stack(Answer((HELLO,), headers=headers)) as stack:
        client = LlamaStackClient(stack.url, timeout=60)
        assert [_ async for _ in client.stream("m", [Message("user", "Hi.")], SamplingOptions())]
        await client.aclose()


async def test_no_cookie_of_one_request_goes_with_another() -> None:
    async with raw_stack(Answer((HELLO,), headers={"set-cookie": "visitor=1"})) as stack:
        url = httpx.URL(stack.url)
        async with http_client(url, None, {}, connections=2) as http:
            for _ in range(2):
                await http.post(f"{stack.url}/v1/chat/completions", json={})
                http.cookies.clear()  # httpx's own; the transport must have none
        assert [request.headers.get("cookie") for request in stack.posts] == [None, None]
