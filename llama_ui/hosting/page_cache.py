"""ASGI middleware that keeps the page, which is the same for every visitor, and which Gradio takes 20 ms to make."""

from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS = ("/", "/config")
ADDRESS_HEADERS = ("host", "x-forwarded-host", "x-forwarded-proto")  # all that the page depends on
MAX_PAGES = 20  # of 140 KB; visitors may name any host


class PageCache:
    """Runs behind the security middleware. Only for an app without logins: with them, the page has the user's name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pages: dict[tuple[str | None, ...], list[Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in PATHS or _is_special(scope):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = (scope["path"], scope["scheme"], *map(headers.get, ADDRESS_HEADERS))
        if page := self._pages.get(key):
            for message in page:
                await send(_copy(message))
            return
        page = []

        async def keep(message: Message) -> None:
            page.append(_copy(message))
            await send(message)

        await self._app({**scope, "query_string": b""}, receive, keep)  # nothing of one visitor's is kept for another
        if page and page[0].get("status") == 200 and page[-1]["type"] == "http.response.body":
            if len(self._pages) >= MAX_PAGES:
                del self._pages[next(iter(self._pages))]
            self._pages[key] = page


def _is_special(scope: Scope) -> bool:
    """Whether the query asks Gradio for another page; links of this app are read in the browser."""
    return bool({"deep_link", "page"} & QueryParams(scope["query_string"]).keys())


def _copy(message: Message) -> Message:
    """What other middleware may change is copied."""
    return {**message, "headers": list(message["headers"])} if "headers" in message else dict(message)
