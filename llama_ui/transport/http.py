"""The HTTP client of one server: its way there, and which redirects it follows."""

import re
import ssl
from collections.abc import Mapping
from functools import partial

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

from llama_ui.transport.environment import Proxy, is_canonical, tls_context

# The exceptions of aiohttp as those of httpx, the special ones first. httpx-aiohttp makes most of them ConnectTimeout.
_KINDS: list[tuple[type[Exception], type[httpx.TransportError]]] = [
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ClientConnectionError, httpx.ReadError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
]


READ_SIZE = AiohttpResponseStream.CHUNK_SIZE  # bytes; a chunk of fewer is all that has arrived
BUFFER_SIZE = 2**20  # what may arrive between two reads of a fast reply
MAX_HEADER = 2**16  # gateways with single sign-on send long ones


def http_client(url: httpx.URL, proxy: Proxy | None, environ: Mapping[str, str], connections: int) -> httpx.AsyncClient:
    """A client for one server, which never takes a connection or a variable that this server does not need.

    Each chunk of a reply costs half as much through aiohttp as through httpx's own transport. That one is for proxies,
    since aiohttp knows no SOCKS, and for addresses such as 127.1, which aiohttp refuses.
    """
    proxy_has_tls = proxy is not None and proxy.url.startswith("https:")
    context = tls_context(environ) if proxy_has_tls or url.scheme == "https" else None
    direct = _DirectTransport(client=partial(_session, context, connections), verify=context or False)
    use_aiohttp = proxy is None and (is_canonical(url.host) or not re.fullmatch("(?i)[0-9a-fx.]+", url.host))
    return httpx.AsyncClient(
        verify=context or False,
        transport=direct if use_aiohttp else None,
        proxy=httpx.Proxy(proxy.url, ssl_context=context if proxy_has_tls else None) if proxy else None,
        trust_env=False,
        follow_redirects=True,
        event_hooks={"request": [_note_url], "response": [_refuse_redirect]},
        # No connection is used twice: llama-stack 0.7 closes one a while after an error, 0.1 after an unknown route,
        # and most servers after 5 idle seconds, so that the next request on it would be lost. A new one costs 1 ms, 3
        # with TLS.
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=0),
    )


def _session(context: ssl.SSLContext | None, connections: int) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=connections, force_close=True, ssl=context or False)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=BUFFER_SIZE,
        max_line_size=MAX_HEADER,
        max_field_size=MAX_HEADER,
    )


class _DirectTransport(AiohttpTransport):
    """httpx-aiohttp's transport, with httpx's own exceptions for what happens before a response begins."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except (httpx.TransportError, aiohttp.ClientError) as error:
            cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__
            for known, kind in _KINDS:
                if isinstance(cause, known):
                    raise kind(str(cause), request=request) from cause.__cause__ or cause
            raise


class Redirected(httpx.RequestError):
    """A redirect that is not followed: to another address, or one that would turn a POST into a GET."""

    def __init__(self, request: httpx.Request, location: str) -> None:
        super().__init__("Redirected", request=request)
        self.first_url = str(request.extensions["first_url"])
        self.location = location


async def _note_url(request: httpx.Request) -> None:
    request.extensions.setdefault("first_url", str(request.url))  # a redirected request has the same extensions


async def _refuse_redirect(response: httpx.Response) -> None:
    """Only to the same address with another slash or query, a redirect is followed."""
    if not response.has_redirect_location:
        return
    url = response.request.url
    target = url.join(response.headers["location"])
    keeps_method = response.status_code in (307, 308) or response.request.method == "GET"
    same = [(it.scheme, it.host, it.port, it.path.rstrip("/")) for it in (url, target)]
    if not (same[0] == same[1] and keeps_method):
        raise Redirected(response.request, str(target))
