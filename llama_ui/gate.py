"""What every request passes on its way into the app: who may come in how, and what the page's browser may load."""

import asyncio
import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llama_ui.logins import ADDRESS
from llama_ui.settings import Settings
from llama_ui.visitors import Visitors, network

# The routes that the page and the client library use. All others of Gradio's, such as those that hand out files, fetch
# addresses or list what was sent, are closed.
ROUTES = re.compile(
    r"/|/config|/assets/.+|/static/.+|/svelte/.+|/theme\.css|/favicon\.ico|/manifest\.json|/pwa_icon(/\w+)?|/robots\.txt"
    r"|/login|/logout|/healthz|/readyz|/metrics"
    r"|/gradio_api/(info|openapi\.json|theme\.css|startup-events|app_id|login_check|user|heartbeat/[\w-]+|queue/(join|data)"
    r"|cancel|reset|run/predict|call/(v2/)?\w+(/[\w-]+)?|upload|upload_progress)"
)
STREAMS = re.compile("/gradio_api/(queue/data|call/)")
UPLOADS = ("/gradio_api/upload", "/gradio_api/upload/")
# Bytes of a request: a conversation with its pictures travels in each; an upload is of several files.
MOST_BYTES, MOST_UPLOADED = 40_000_000, 110_000_000
# Seconds until the next part of a request, and until all of it.
PATIENCE, LONGEST = 20.0, 300.0
# For each message that an address may send within a minute, and for so many at the least: requests, bytes of uploads.
REQUESTS, UPLOADED, LEAST = 10, 300_000, 200
# For each visitor that an address may have: requests at once. A page has up to three, for as long as it is open.
AT_ONCE = 20
INLINE_SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' {scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; manifest-src 'self'; frame-src 'none'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors {ancestors}"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


class Refused(Exception):
    """A request that is not let through, with the one sentence that is answered."""

    def __init__(self, status: int, sentence: str, wait: int = 0) -> None:
        super().__init__(sentence)
        self._sentence, self._status = sentence, status
        self._headers = {"retry-after": str(wait)} if wait else {}

    def response(self, path: str) -> Response:
        if path.startswith("/gradio_api/"):  # in the form that the page shows
            return JSONResponse({"detail": self._sentence}, self._status, self._headers)
        return PlainTextResponse(f"{self._sentence}\n", self._status, self._headers)


class Gate:
    """ASGI middleware, inside of Gradio's own. `script`: the inline script that the page adds to itself."""

    def __init__(self, app: ASGIApp, settings: Settings, visitors: Visitors, script: str) -> None:
        self._app = app
        self._settings = settings
        self._visitors = visitors
        self._script = script
        self._rates = FixedWindowRateLimiter(MemoryStorage())
        self._open: Counter[str] = Counter()  # requests that are being answered, by address
        self._ancestors = "https://huggingface.co https://*.hf.space" if settings.space else "'self'"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passage = _Passage(receive, send, MOST_UPLOADED if scope["path"] in UPLOADS else MOST_BYTES, self._policy)
        address = _address(scope)
        self._open[address] += 1
        try:
            self._check(scope)
            ADDRESS.set(address)
            with self._watched(scope):
                await self._app(scope, passage.receive, passage.send)
        except Refused as refused:
            passage.refused = refused
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
        if passage.refused and not passage.begun:
            await passage.refused.response(scope["path"])(scope, receive, passage.answer)

    def _watched(self, scope: Scope) -> AbstractContextManager[None]:
        if "/heartbeat/" in scope["path"]:
            return self._visitors.page()
        if STREAMS.match(scope["path"]) and scope["method"] == "GET":
            return self._visitors.stream()
        return nullcontext()

    def _check(self, scope: Scope) -> None:
        """Raises Refused."""
        headers, path = Headers(scope=scope), scope["path"]
        if not ROUTES.fullmatch(path.rstrip("/") or "/"):
            raise Refused(404, "There is nothing here.")
        if not self._settings.public and not is_own_name(headers.get("host", ""), self._settings.host):
            raise Refused(
                421, "This app is for its own machine. Behind a proxy it is started with --trusted-proxies ADDRESS."
            )
        if _from_elsewhere(headers) and not (path == "/" and headers.get("sec-fetch-mode") == "navigate"):
            raise Refused(403, "The page of another site may not use this app.")
        if self._visitors.draining and path == "/":
            raise Refused(503, "This app is being restarted. Come again in a minute.", 60)
        if self._settings.public and self._open[_address(scope)] > AT_ONCE * self._settings.visitors_per_address:
            raise Refused(429, "Too many pages are open in your network.", 60)
        if self._settings.public and scope["method"] == "POST":
            self._count(scope, "requests", REQUESTS, 1)
            if path in UPLOADS:
                if "content-length" not in headers:
                    raise Refused(411, "An upload says how long it is.")
                self._count(scope, "bytes", UPLOADED, int(headers["content-length"]))

    def _count(self, scope: Scope, what: str, share: int, cost: int) -> None:
        """Raises Refused where it is more than comes from one address within a minute."""
        settings = self._settings
        share *= max(LEAST, settings.messages_per_minute * settings.visitors_per_address)
        if not self._rates.hit(RateLimitItemPerMinute(share), what, _address(scope), cost=cost):
            raise Refused(429, f"There were too many {what} from your network. Wait a minute.", 60)

    def _policy(self, page: bytes) -> str:
        """The Content-Security-Policy of a page: its own inline scripts run, and no others."""
        scripts = [*INLINE_SCRIPT.findall(page.decode(errors="replace")), self._script]
        digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
        return POLICY.format(scripts=" ".join(f"'sha256-{it}'" for it in digests), ancestors=self._ancestors)


class _Passage:
    """One request on its way in, and its answer on the way out."""

    def __init__(self, receive: Receive, send: Send, most: int, policy: Callable[[bytes], str]) -> None:
        self._receive, self._send = receive, send
        self._left = most
        self._complete = False
        self._until = 0.0
        self._policy = policy
        self._page: tuple[Message, bytes] | None = None
        self.begun = False
        self.refused: Refused | None = None

    async def receive(self) -> Message:
        """Raises Refused for a body that is too long, or comes too slowly."""
        if self._complete:
            return await self._receive()
        try:
            now = asyncio.get_running_loop().time()
            self._until = self._until or now + LONGEST
            async with asyncio.timeout_at(min(self._until, now + PATIENCE)):
                message = await self._receive()
        except TimeoutError:
            raise self._refuse(408, "The request came too slowly.") from None
        self._left -= len(message.get("body", b""))
        self._complete = not message.get("more_body")
        if self._left < 0:
            raise self._refuse(413, "The request is too large.")
        return message

    def _refuse(self, status: int, sentence: str) -> Refused:
        self.refused = Refused(status, sentence)
        return self.refused

    async def send(self, message: Message) -> None:
        """What the app answers; nothing of it where the request is refused. A page is held back until it is whole."""
        if self.refused and not self.begun:
            return
        if message["type"] == "http.response.start" and "text/html" in Headers(raw=message["headers"]).get(
            "content-type", ""
        ):
            self._page = message, b""
        elif self._page:
            start, body = self._page[0], self._page[1] + message.get("body", b"")
            self._page = start, body
            if not message.get("more_body"):
                await self.answer(start, self._policy(body))
                await self._send({"type": "http.response.body", "body": body})
        else:
            await self.answer(message)

    async def answer(self, message: Message, policy: str = "default-src 'none'; frame-ancestors 'none'") -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(raw=message["headers"])
            headers.update(HEADERS | {"content-security-policy": policy})
        await self._send(message)


def _address(scope: Scope) -> str:
    return network(scope["client"][0] if scope.get("client") else "")


def is_own_name(host: str, listening: str) -> bool:
    """Whether a request's Host is this machine's: a page of another site that calls itself so by DNS names itself."""
    name = urlsplit(f"//{host}").hostname or ""
    return name in ("localhost", "127.0.0.1", "::1", listening.strip("[]").lower()) or name.endswith(".localhost")


def _from_elsewhere(headers: Headers) -> bool:
    """Whether another site's page sent it. Browsers say so; older ones, and any without https, name the origin."""
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
