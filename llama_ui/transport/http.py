"""The HTTP client of one server: its way there, and which redirects it follows."""

from collections.abc import Mapping

import httpx

from llama_ui.transport.environment import Proxy, tls_context


def http_client(url: httpx.URL, proxy: Proxy | None, environ: Mapping[str, str], connections: int) -> httpx.AsyncClient:
    """A client for one server, which never takes a connection or a variable that this server does not need."""
    proxy_has_tls = proxy is not None and proxy.url.startswith("https:")
    context = tls_context(environ) if proxy_has_tls or url.scheme == "https" else None
    return httpx.AsyncClient(
        verify=context or False,
        proxy=httpx.Proxy(proxy.url, ssl_context=context if proxy_has_tls else None) if proxy else None,
        trust_env=False,
        follow_redirects=True,
        event_hooks={"request": [_note_url], "response": [_refuse_redirect]},
        # No connection is used twice: llama-stack 0.7 closes one a while after an error, 0.1 after an unknown route,
        # and most servers after 5 idle seconds, so that the next request on it would be lost. A new one costs 1 ms, 3
        # with TLS.
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=0),
    )


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
