"""What every request passes on its way into the app: who may come in how, and what the page's browser may load."""

import asyncio
import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from urllib.parse import SplitResult, urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llama_ui.core.logs import log_unexpected
from llama_ui.hosting import uploads
from llama_ui.hosting.limits import network
from llama_ui.hosting.logins import ADDRESS
from llama_ui.hosting.turns import Turns
from llama_ui.settings import Settings

# The routes that the page and the client library use. All others of Gradio's, such as those that hand out files, fetch
# addresses or list what was sent, are closed.
ROUTES = re.compile(
    r"/|/config|/assets/.+|/static/.+|/svelte/.+|/theme\.css|/favicon\.ico|/manifest\.json|/pwa_icon(/\w+)?|/robots\.txt"
    r"|/login|/logout|/healthz|/readyz|/metrics"
    r"|/gradio_api/(info|openapi\.json|theme\.css|startup-events|app_id|login_check|user|heartbeat/[\w-]+|queue/(join|data)"
    r"|cancel|reset|run/predict|call/(v2/)?\w+(/[\w-]+)?|upload|upload_progress)"
)
FILES = re.compile(r"/(assets|static|svelte)/")
# What a picture in the page may be loaded from: one in a reply could log its reader out, or hold connections open.
PICTURES = re.compile(rf"{FILES.pattern}|/favicon\.ico|/pwa_icon")
# For those who run the app, who may come from where its visitors come from.
OPERATIONS = ("/healthz", "/readyz", "/metrics")
STREAMS = re.compile("/gradio_api/(queue/data|call/)")
UPLOADS = ("/gradio_api/upload", "/gradio_api/upload/")
# Where a session is acted for without a POST, and Gradio asks for no login.
HEARTBEATS = "/gradio_api/heartbeat/"
# Bytes of a request: a conversation with its pictures travels in each; an upload is of several files.
MOST_BYTES, MOST_UPLOADED, MOST_LOGIN = 40_000_000, 110_000_000, 10_000
# What the parts of JSON begin with: each takes memory, and time of the one thread, many times its length. So many of
# them, and one for each character that a conversation may have; a part weighs as much as so many bytes.
MARKS, MOST_MARKS, WEIGHT = (b"[", b"{", b","), 200_000, 100
# Seconds until the next part of a request, and until all of it.
CHUNK_TIMEOUT, REQUEST_TIMEOUT = 20.0, 300.0
# For each message that an address may send within a minute, and for so many at the least: requests, and their bytes.
REQUESTS, BYTES, LEAST = 4, 300_000, 200
# Characters: a session has its name in it. Only where the page repeats the link that led to it may it be longer.
LONGEST_ADDRESS = 1000
LINKED = ("/", "/gradio_api/queue/join")
# Bytes of the uploads of all visitors, within the minutes for which they are kept; and what a file weighs at the least.
UPLOADED, LEAST_FILE = RateLimitItemPerMinute(2**30, uploads.MAX_AGE // 60), 100_000
# What says under which name the app was asked, and from which link: taken from a proxy only. Gradio believes anybody.
FORWARDED = (b"x-forwarded-host", b"x-forwarded-proto")
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


class RequestRejected(Exception):
    """A request that is not let through, with the one sentence that is answered."""

    def __init__(self, status: int, sentence: str, wait: int = 0) -> None:
        super().__init__(sentence)
        self._sentence, self._status = sentence, status
        self._headers = {"retry-after": str(wait)} if wait else {}

    def response(self, path: str) -> Response:
        if path.startswith("/gradio_api/"):  # in the form that the page shows
            return JSONResponse({"detail": self._sentence}, self._status, self._headers)
        return PlainTextResponse(f"{self._sentence}\n", self._status, self._headers)


class SecurityMiddleware:
    """ASGI middleware, inside of Gradio's own. `script`: the inline script that the page adds to itself."""

    def __init__(self, app: ASGIApp, settings: Settings, turns: Turns, script: str) -> None:
        self._app = app
        self._settings = settings
        self._turns = turns
        self._script = script
        self._rates = FixedWindowRateLimiter(MemoryStorage())
        self._open: Counter[str] = Counter()  # requests that are being answered, by address
        self._ancestors = "https://huggingface.co https://*.hf.space" if settings.space else "'self'"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passage = GuardedRequest(receive, send, partial(self._check_body, scope), self._policy)
        address = _address(scope)
        scope["headers"] = [header for header in scope["headers"] if self._believes(header[0])]
        self._open[address] += 1
        try:
            self._check(scope)
            ADDRESS.set(address)
            with self._watched(scope):
                await self._app(scope, passage.receive, passage.send)
        except RequestRejected as refused:
            passage.refused = refused
        except Exception as error:
            if passage.begun and isinstance(error.__cause__, HTTPException):  # told in the stream, which is left open
                await send({"type": "http.response.body"})
            else:  # nothing that a page sends: what goes wrong in an event goes through the queue
                passage.refused = RequestRejected(500, str(log_unexpected("answering a request", in_words=False)))
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
        if passage.refused and not passage.begun:
            await passage.refused.response(scope["path"])(scope, receive, passage.answer)

    def _watched(self, scope: Scope) -> AbstractContextManager[None]:
        if scope["path"].startswith(HEARTBEATS):
            return self._turns.page()
        if STREAMS.match(scope["path"]) and scope["method"] == "GET":
            return self._turns.stream()
        return nullcontext()

    def _check(self, scope: Scope) -> None:
        """Raises Refused."""
        headers, path = Headers(scope=scope), scope["path"]
        if path not in LINKED and len(path) + len(scope["query_string"]) > LONGEST_ADDRESS:
            raise RequestRejected(414, "The address is too long.")
        if not ROUTES.fullmatch(path.rstrip("/") or "/"):
            raise RequestRejected(404, "There is nothing here.")
        if not self._settings.public and not is_own_name(headers.get("host", ""), self._settings.host):
            raise RequestRejected(
                421, "This app is for its own machine. Behind a proxy it is started with --trusted-proxies ADDRESS."
            )
        if _from_elsewhere(headers) and not (path == "/" and headers.get("sec-fetch-mode") == "navigate"):
            raise RequestRejected(403, "The page of another site may not use this app.")
        if _is_for_a_picture(headers) and not PICTURES.match(path):
            raise RequestRejected(403, "There is no picture here.")
        if self._turns.draining and path == "/":
            raise RequestRejected(503, "This app is being restarted. Come again in a minute.", 60)
        if path in OPERATIONS:
            return
        if self._settings.public and self._open[_address(scope)] > AT_ONCE * self._settings.visitors_per_address:
            raise RequestRejected(429, "Too many pages are open in your network.", 60)
        if self._settings.public and not FILES.match(path):
            self._count(scope, "requests", REQUESTS, 1)
        acts = (scope["method"] == "POST" and path.rstrip("/") != "/login") or path.startswith(HEARTBEATS)
        if self._settings.logins and acts and not _is_logged_in(scope):
            raise RequestRejected(401, "Log in first.")

    def _believes(self, header: bytes) -> bool:
        settings = self._settings
        behind_proxy = settings.trusted_proxies or settings.space or settings.share
        return header != b"x-gradio-server" and bool(behind_proxy or header not in FORWARDED)

    def _check_body(self, scope: Scope, body: bytes, length: int, marks: int) -> int:
        """The marks in the next part of a request that has had `length` bytes and `marks` before. Raises Refused."""
        path, length = scope["path"].rstrip("/"), length + len(body)
        found = 0 if path in UPLOADS else sum(map(body.count, MARKS))
        if length > (MOST_UPLOADED if path in UPLOADS else MOST_LOGIN if path == "/login" else MOST_BYTES):
            raise RequestRejected(413, "The request is too large.")
        if marks + found > MOST_MARKS + self._settings.max_history_chars:
            raise RequestRejected(413, "The request has too many parts.")
        if self._settings.public and body:
            self._count(scope, "bytes", BYTES, len(body) + WEIGHT * found)
        # After the address's own limit: beyond it nothing counts for the others.
        weight = len(body) + LEAST_FILE * body.count(b"filename=")
        if path in UPLOADS and not self._rates.hit(UPLOADED, "uploads", cost=weight):
            raise RequestRejected(503, "Too many files are being read here. Add yours in a few minutes.", 60)
        return found

    def _count(self, scope: Scope, what: str, share: int, cost: int) -> None:
        """Raises Refused where it is more than comes from one address within a minute."""
        settings = self._settings
        share *= max(LEAST, settings.messages_per_minute * settings.visitors_per_address)
        if not self._rates.hit(RateLimitItemPerMinute(share), what, _address(scope), cost=cost):
            raise RequestRejected(429, f"There were too many {what} from your network. Wait a minute.", 60)

    def _policy(self, page: bytes) -> str:
        """The Content-Security-Policy of a page: its own inline scripts run, and no others."""
        scripts = [*INLINE_SCRIPT.findall(page.decode(errors="replace")), self._script]
        digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
        return POLICY.format(scripts=" ".join(f"'sha256-{it}'" for it in digests), ancestors=self._ancestors)


class GuardedRequest:
    """One request on its way in, and its answer on the way out."""

    def __init__(
        self, receive: Receive, send: Send, weigh: Callable[[bytes, int, int], int], policy: Callable[[bytes], str]
    ) -> None:
        self._receive, self._send = receive, send
        self._weigh = weigh
        self._length = self._marks = 0
        self._complete = False
        self._until = 0.0
        self._policy = policy
        self._page: tuple[Message, bytes] | None = None
        self.begun = False
        self.refused: RequestRejected | None = None

    async def receive(self) -> Message:
        """Raises Refused for a body that is too large, or comes too slowly."""
        if self._complete:
            return await self._receive()
        try:
            message = await self._next()
            body = message.get("body", b"")
            self._marks += self._weigh(body, self._length, self._marks)
        except RequestRejected as refused:
            self.refused = refused  # the app may make something else of it
            raise
        self._length += len(body)
        self._complete = not message.get("more_body")
        return message

    async def _next(self) -> Message:
        now = asyncio.get_running_loop().time()
        self._until = self._until or now + REQUEST_TIMEOUT
        try:
            async with asyncio.timeout_at(min(self._until, now + CHUNK_TIMEOUT)):
                return await self._receive()
        except TimeoutError:
            raise RequestRejected(408, "The request came too slowly.") from None

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


def _is_logged_in(scope: Scope) -> bool:
    """As Gradio has it, which asks for no login where somebody ends a reply."""
    app, cookies = scope["app"], Request(scope).cookies
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(cookies.get(name) in app.tokens for name in names)


def _address(scope: Scope) -> str:
    return network(scope["client"][0] if scope.get("client") else "")


def is_own_name(host: str, listening: str) -> bool:
    """Whether a request's Host is this machine's: a page of another site that calls itself so by DNS names itself."""
    name = _split(f"//{host}").hostname or ""
    return name in ("localhost", "127.0.0.1", "::1", listening.strip("[]").lower()) or name.endswith(".localhost")


def _from_elsewhere(headers: Headers) -> bool:
    """Whether another site's page sent it. Browsers say so; older ones, and any without https, name the origin."""
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and _split(origin).netloc.lower() != headers.get("host", "").lower()


def _is_for_a_picture(headers: Headers) -> bool:
    """Whether a browser would show the answer in the page. Without https it says so by what it accepts only."""
    if "sec-fetch-dest" in headers:
        return headers["sec-fetch-dest"] in ("image", "audio", "video", "track", "font", "object", "embed")
    return headers.get("accept", "").startswith("image/")


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # "http://["
        return urlsplit("//?")
