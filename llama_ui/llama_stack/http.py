"""The HTTP client of one server: its way there, and which redirects it follows."""

from collections.abc import Mapping

import httpx

from llama_ui.environment import Proxy, tls_context


def http_client(url: httpx.URL, proxy: Proxy | None, environ: Mapping[str, str], connections: int) -> httpx.AsyncClient:
    """A client for one server, which never takes a connection or a variable that this server does not need."""
    proxy_has_tls = proxy is not None and proxy.url.startswith("https:")
    context = tls_context(environ) if proxy_has_tls or url.scheme == "https" else None
    return httpx.AsyncClient(
        verify=context or False,
        proxy=httpx.Proxy(proxy.url, ssl_context=context if proxy_has_tls else None) if proxy else None,
        trust_env=False,
        follow_redirects=True,
        event_hooks={"response": [_refuse_redirect]},
        # No connection is used twice: llama-stack 0.7 closes one a while after an error, 0.1 after an unknown route,
        # and most servers after 5 idle seconds, so that the next request on it would be lost. A new one costs 1 ms, 3
        # with TLS.
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=0),
    )


class Redirected(httpx.RequestError):
    """A redirect that is not followed: to another server, or one that would turn a POST into a GET."""

    def __init__(self, request: httpx.Request, location: str) -> None:
        super().__init__("Redirected", request=request)
        self.location = location


async def _refuse_redirect(response: httpx.Response) -> None:
    if not response.has_redirect_location:
        return
    url = response.request.url
    target = url.join(response.headers["location"])
    keeps_method = response.status_code in (307, 308) or response.request.method == "GET"
    same = (url.scheme, url.host, url.port) == (target.scheme, target.host, target.port)
    if not (same and keeps_method):
        raise Redirected(response.request, str(target))
