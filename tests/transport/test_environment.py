"""Which proxy and which certificates the way to a server takes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from llama_ui.core.errors import ChatError, Misconfigured, Moved, NotALlamaStack, NotListening, ServerError
from llama_ui.core.events import Text
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.llama_stack.client import LlamaStackClient
from llama_ui.transport.environment import find_proxy, is_excepted, is_this_machine, tls_context, unusable_variables
from tests.support.raw_stack import Answer, RawStack, raw_stack

pytestmark = pytest.mark.loopback  # host names are looked up
KEY = "sk-secret-key"
MESSAGES = [Message("user", "Hi.")]


def client(url: str, **environ: str) -> LlamaStackClient:
    return LlamaStackClient(url, KEY, timeout=60, environ=environ)


async def failure(url: str, **environ: str) -> ServerError:
    server = client(url, **environ)
    with pytest.raises(ServerError) as failed:
        await server.discovery.dialect()
    await server.aclose()
    return failed.value


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "stack.example.com",
        "example.com",
        ".example.com",
        "*.example.com",
        "STACK.Example.com.",
        "other.test,stack.example.com",
        "other.test stack.example.com",
        "stack.example.com:8321",
        "http://stack.example.com",
        "all://*.example.com",
        "other.test;stack.example.com",
        "stack.*",
    ],
)
def test_a_host_is_excepted_by_its_name_or_domain(entry: str) -> None:
    url = httpx.URL("http://stack.example.com:8321")
    for name in ("no_proxy", "NO_PROXY"):
        assert is_excepted(url, {name: entry, name.swapcase(): "other.test"})


@pytest.mark.parametrize(
    "entry",
    ["", "x", "ample.com", "stack.example.com.org", "stack.example.com:80", "https://stack.example.com", "10.0.0.0/8"],
)
def test_another_host_is_not_excepted(entry: str) -> None:
    assert not is_excepted(httpx.URL("http://stack.example.com:8321"), {"NO_PROXY": entry})


@pytest.mark.parametrize(
    ("host", "entry"),
    [
        ("10.1.2.3", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3", "10.1.2.3:8321"),
        ("[fd00::1]", "fd00::/64"),
        ("[fd00::1]", "[fd00::1]"),
        ("[fd00::1]", "[fd00::1]:8321"),
        ("[fd00::1]", "fd00:0::1"),
        ("[::ffff:10.1.2.3]", "10.0.0.0/8"),
        ("0x0a010203", "10.0.0.0/8"),
        ("10.1.2.3", "10.*"),
    ],
)
def test_an_address_is_excepted_by_itself_or_its_network(host: str, entry: str) -> None:
    assert is_excepted(httpx.URL(f"http://{host}:8321"), {"NO_PROXY": entry})
    assert not is_excepted(httpx.URL("http://192.0.2.1:8321"), {"NO_PROXY": entry})


@pytest.mark.parametrize("entry", ["bücher.test", "xn--bcher-kva.test", ".test"])
@pytest.mark.parametrize("host", ["bücher.test", "xn--bcher-kva.test"])
def test_a_host_is_excepted_in_either_form_of_its_name(host: str, entry: str) -> None:
    assert is_excepted(httpx.URL(f"http://{host}:8321"), {"NO_PROXY": entry})


@pytest.mark.parametrize("host", ["localhost", "stack.localhost", "127.0.0.1", "127.9.9.9", "::1", "127.1", "0.0.0.0"])
def test_this_machine_has_many_names(host: str) -> None:
    assert is_this_machine(host)
    assert not is_this_machine("192.0.2.1")


def test_the_variable_of_the_scheme_comes_before_that_for_all() -> None:
    environ = {"HTTPS_PROXY": "http://one.test:1", "ALL_PROXY": "two.test:2", "https_proxy": ""}
    assert str(find_proxy(httpx.URL("https://stack.test"), environ)) == "in HTTPS_PROXY (`http://one.test:1`)"
    assert str(find_proxy(httpx.URL("http://stack.test"), environ)) == "in ALL_PROXY (`http://two.test:2`)"


@pytest.mark.parametrize(
    "value", ["ftp://proxy.test", "socks4://proxy.test:1080", "http://", "://", "http:/proxy.test", "http://p:99999"]
)
def test_a_proxy_that_cannot_be_used_is_named_if_it_is_needed(value: str) -> None:
    with pytest.raises(Misconfigured) as failed:
        client("http://stack.test", HTTP_PROXY=value)
    assert "HTTP_PROXY" in failed.value.sentence and value in failed.value.sentence
    client("http://stack.test", HTTPS_PROXY=value)
    client("http://127.0.0.1:8321", HTTP_PROXY=value)


def test_the_password_of_a_proxy_is_not_shown() -> None:
    proxy = find_proxy(httpx.URL("http://stack.test"), {"HTTP_PROXY": "http://user:secret@proxy.test:1"})
    assert "secret" not in str(proxy) and "proxy.test" in str(proxy)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_are_not_there_are_named_if_they_are_needed(variable: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no certificate")
    for path in ("/nonexistent", *([str(tmp_path / "file")] if variable == "SSL_CERT_FILE" else [])):
        with pytest.raises(Misconfigured) as failed:
            client("https://stack.test", **{variable: path})
        assert variable in failed.value.sentence
        client("http://stack.test", **{variable: path})
        assert dict(unusable_variables({variable: path})) == {variable: None}
    assert tls_context({}).get_ca_certs()


def test_other_libraries_get_only_what_they_can_use() -> None:
    environ = {
        "ALL_PROXY": "socks://p:1",
        "HTTP_PROXY": "ftp://p",
        "https_proxy": "http://p:1",
        "NO_PROXY": "[::1],fd00::/8",
    }
    assert dict(unusable_variables(environ)) == {
        "ALL_PROXY": "socks5://p:1",
        "HTTP_PROXY": None,
        "NO_PROXY": "::1",
    }


# On real sockets


class Listener:
    """Remembers all that it receives, and answers with bytes."""

    def __init__(self, answer: bytes = b"") -> None:
        self.answer, self.received = answer, b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received += await reader.read(65536)
        writer.write(self.answer)
        writer.close()


async def listen(listener: Listener) -> tuple[asyncio.Server, str]:
    server = await asyncio.start_server(listener.serve, "127.0.0.1")
    return server, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1"])
@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
async def test_no_proxy_sees_a_request_to_this_machine(host: str, scheme: str) -> None:
    proxy = Listener()
    server, address = await listen(proxy)
    async with server, raw_stack(Answer((b"",))) as stack:
        environ = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), f"{scheme}://{address}")
        reached = client(stack.url.replace("127.0.0.1", host), **environ)
        await reached.discovery.dialect()
        await reached.aclose()
        assert stack.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert proxy.received == b""


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", "407"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 5\r\n\r\nsorry", "502"),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "403"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_refuses_is_named(answer: bytes, words: str, scheme: str) -> None:
    proxy = Listener(answer)
    server, address = await listen(proxy)
    variable = f"{scheme.upper()}_PROXY"
    async with server:
        error = await failure(f"{scheme}://stack.test", **{variable: f"http://{address}"})
    assert isinstance(error, NotListening)
    assert f"{variable} (`http://{address}`)" in error.sentence and words in error.sentence
    assert scheme == "http" or KEY.encode() not in proxy.received


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"\x05\x00", b"HTTP/1.1 200 OK\r\n\r\n"])
@pytest.mark.parametrize("kind", ["http", "https", "socks5", "SOCKS"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_does_not_speak_its_protocol_is_named(answer: bytes, kind: str, scheme: str) -> None:
    if (scheme, kind, answer[:4]) == ("http", "http", b"HTTP"):
        pytest.skip("that is an answer")
    server, address = await listen(Listener(answer))
    async with server:
        error = await failure(f"{scheme}://stack.test", ALL_PROXY=f"{kind}://{address}")
    assert isinstance(error, NotListening) and "ALL_PROXY" in error.sentence


async def test_an_error_that_a_server_sends_through_a_socks_proxy_is_its_own() -> None:
    async with (
        raw_stack(Answer((b"<h1>Down</h1>",), "503 X", {"content-type": "text/html"})) as stack,
        relay(stack) as proxy,
    ):
        with pytest.raises(ServerError, match=r"The server is not available \(503\): `Down`."):
            async for _ in client("http://stack.test", ALL_PROXY=proxy).stream("m", MESSAGES, SamplingOptions()):
                pass


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks"])
async def test_a_reply_comes_through_a_socks_proxy(scheme: str) -> None:
    async with (
        raw_stack(Answer((b'data: {"choices": [{"delta": {"content": "Hello."}}]}\n\n',))) as stack,
        relay(stack) as proxy,
    ):
        reached = client("http://192.0.2.1", ALL_PROXY=proxy.replace("socks5", scheme))
        events = [event async for event in reached.stream("m", MESSAGES, SamplingOptions())]
        await reached.aclose()
    assert Text("Hello.") in events


@asynccontextmanager
async def relay(stack: RawStack) -> AsyncIterator[str]:
    """A SOCKS proxy through which every address is that of the stack."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        writer.write(b"\x05\x00")
        *_, kind = await reader.readexactly(4)
        length = 4 if kind == 1 else (await reader.readexactly(1))[0]
        await reader.readexactly(length + 2)
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        there, back = await asyncio.open_connection("127.0.0.1", int(stack.url.rpartition(":")[2]))
        await asyncio.gather(copy(reader, back), copy(there, writer))

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        yield f"socks5://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("proxy", ["http", "socks5"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_gone_is_named(proxy: str, scheme: str) -> None:
    server, address = await listen(Listener())
    server.close()
    await server.wait_closed()
    error = await failure(f"{scheme}://stack.test", ALL_PROXY=f"{proxy}://{address}")
    assert isinstance(error, NotListening) and "ALL_PROXY" in error.sentence


async def test_a_socks_proxy_that_refuses_is_named_and_sees_no_key() -> None:
    proxy = Listener(b"\x05\xff")
    server, address = await listen(proxy)
    async with server:
        error = await failure("http://stack.test", ALL_PROXY=f"socks5://{address}")
    assert isinstance(error, NotListening) and "ALL_PROXY" in error.sentence
    assert proxy.received == b"\x05\x01\x00"


# Redirects


async def moved(to: str, status: str = "301 Moved Permanently") -> tuple[ChatError, RawStack]:
    async with raw_stack(Answer((b"",))) as stack:
        stack.pages["/base/v1/inspect/routes"] = Answer((b"",), status, {"location": to})
        return await failure(f"{stack.url}/base"), stack


async def test_a_server_that_has_moved_is_told_at_the_first_lookup_with_its_whole_address() -> None:
    error, stack = await moved("https://stack.test/llama/v1/inspect/routes?x=1")
    assert isinstance(error, Moved)
    assert error.fix == "Use that one: https://stack.test/llama."
    assert [request.method for request in stack.requests] == ["GET"]


async def test_an_address_to_which_two_redirects_lead_is_told_whole() -> None:
    async with raw_stack(Answer((b"",))) as stack:
        slash = Answer((b"",), "301 X", {"location": "/base/v1/inspect/routes/"})
        stack.pages["/base/v1/inspect/routes"] = slash
        there = Answer((b"",), "301 X", {"location": "https://stack.test/llama/v1/inspect/routes/"})
        stack.pages["/base/v1/inspect/routes/"] = there
        assert (await failure(f"{stack.url}/base")).fix == "Use that one: https://stack.test/llama."


async def test_another_path_on_the_same_server_is_told_at_the_first_lookup() -> None:
    error, stack = await moved("/llama/v1/inspect/routes")
    assert isinstance(error, Moved) and error.fix == f"Use that one: {stack.url}/llama."


async def test_a_redirect_to_a_login_is_told_as_such_and_followed_by_no_key() -> None:
    async with raw_stack(Answer((b"",))) as other:
        async with raw_stack(Answer((b"",), "302 Found", {"location": f"{other.url}/login?secret"})) as stack:
            reply = client(stack.url)
            with pytest.raises(NotALlamaStack) as failed:
                async for _ in reply.stream("m", MESSAGES, SamplingOptions()):
                    pass
        assert f"redirects to `{other.url}/login`" in failed.value.sentence
        assert other.requests == []
