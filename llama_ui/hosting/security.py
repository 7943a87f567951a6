"""ASGI middleware that every request passes: which routes exist, who may use them, and what a browser may load."""

import base64
import hashlib
import re
from collections import Counter
from contextlib import AbstractContextManager, nullcontext

from limits import RateLimitItemPerMinute
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llama_ui.core.logs import log_unexpected
from llama_ui.hosting import uploads
from llama_ui.hosting.limits import RateLimiter, network
from llama_ui.hosting.logins import ADDRESS, account
from llama_ui.hosting.turns import Turns
from llama_ui.settings import Settings

# What the page and gradio_client use. Gradio's other routes serve files, fetch URLs or list requests: they are closed.
ROUTES = re.compile(
    r"/|/config|/assets/.+|/static/.+|/svelte/.+|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt"
    r"|/login(/huggingface|/callback)?|/logout|/healthz|/readyz|/metrics"
    r"|/gradio_api/(info|openapi\.json|theme\.css|startup-events|app_id|login_check|user|heartbeat/[\w-]+|queue/(join|data)"
    r"|cancel|reset|run/predict|call/(v2/)?\w+(/[\w-]+)?|upload|upload_progress)"
)
STATIC_FILES = re.compile(r"/(assets|static|svelte)/")
# All that an image in a reply may load. Other routes could log the reader out or keep connections open.
IMAGE_ROUTES = re.compile(rf"{STATIC_FILES.pattern}|/favicon\.ico")
OPERATOR_ROUTES = ("/healthz", "/readyz", "/metrics")  # without limits: an operator can share a visitor's address
REPLY_STREAMS = re.compile("/gradio_api/(queue/data|call/)")
HEARTBEATS = "/gradio_api/heartbeat/"  # acts for a session, though by GET, and Gradio requires no login for it
LANDINGS = ("/", "/login/huggingface", "/login/callback")  # where links of other sites may lead
UPLOAD, LOGIN = "/gradio_api/upload", "/login"
MAX_BODY, MAX_UPLOAD_BODY, MAX_LOGIN_BODY = 40_000_000, 110_000_000, 10_000  # bytes; a conversation carries images
# Requests and bytes a minute, for each message that an address may send in it; at least for `MIN_MESSAGES`.
REQUESTS_PER_MESSAGE, BYTES_PER_MESSAGE, MIN_MESSAGES = 4, 300_000, 200
# Characters of path and query. A link to the page, whose query the page repeats, may be longer.
MAX_URL, LINK_ROUTES = 1000, ("/", "/gradio_api/queue/join")
# Bytes that all visitors may upload while an upload is kept, and what a small file counts.
UPLOAD_RATE, MIN_FILE = RateLimitItemPerMinute(2**30, uploads.MAX_AGE // 60), 100_000
REQUESTS_PER_VISITOR = 20  # concurrent, for each visitor that an address may have; an open page has up to three
FORWARDED = (b"x-forwarded-host", b"x-forwarded-proto")  # the app's public address, which only a proxy may set
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
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
IN_A_MINUTE = {"retry-after": "60"}


class SecurityMiddleware:
    """Runs inside Gradio's app, to read its login tokens. `script`: the script that the page adds to itself."""

    def __init__(self, app: ASGIApp, settings: Settings, turns: Turns, script: str) -> None:
        self._app, self._settings, self._turns, self._script = app, settings, turns, script
        self._rates = RateLimiter()
        self._open: Counter[str] = Counter()  # requests in progress, by address
        behind_proxy = settings.trusted_proxies or settings.space or settings.share
        self._untrusted = {b"x-gradio-server"} if behind_proxy else {b"x-gradio-server", *FORWARDED}
        self._ancestors = "https://huggingface.co https://*.hf.space" if settings.space else "'self'"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = GuardedRequest(self, scope["path"].rstrip("/"), receive, send)
        ADDRESS.set(address := account(scope) or network(scope["client"][0] if scope["client"] else ""))
        scope["headers"] = [header for header in scope["headers"] if header[0] not in self._untrusted]
        self._open[address] += 1
        try:
            self._check(scope)
            with self._count_open(scope):
                await self._app(scope, request.receive, request.send)
        except Exception as error:
            if not request.started:
                await _error_response(scope["path"], error)(scope, receive, request.respond)
            elif isinstance(error.__cause__, HTTPException):  # which the event stream has explained
                await send({"type": "http.response.body"})
            else:
                log_unexpected("answering a request", with_message=False)
        finally:
            self._open -= Counter([address])  # keeps positive counts only

    def _count_open(self, scope: Scope) -> AbstractContextManager[None]:
        if scope["path"].startswith(HEARTBEATS):
            return self._turns.metrics.pages.track_inprogress()
        if REPLY_STREAMS.match(scope["path"]) and scope["method"] == "GET":
            return self._turns.stream()
        return nullcontext()

    def _check(self, scope: Scope) -> None:
        """Raises HTTPException."""
        headers, path, settings = Headers(scope=scope), scope["path"], self._settings
        if path not in LINK_ROUTES and len(path) + len(scope["query_string"]) > MAX_URL:
            raise HTTPException(414, "The address is too long.")
        if not ROUTES.fullmatch(path.rstrip("/") or "/"):
            raise HTTPException(404, "There is nothing here.")
        if not settings.public and not is_own_host(headers.get("host", ""), settings.host):
            raise HTTPException(421, "This app serves only its own machine. Behind a proxy, set --trusted-proxies.")
        if _is_cross_site(headers) and not (path in LANDINGS and headers.get("sec-fetch-mode") == "navigate"):
            raise HTTPException(403, "The page of another site may not use this app.")
        if _is_for_an_image(headers) and not IMAGE_ROUTES.match(path):
            raise HTTPException(403, "There is no image here.")
        if self._turns.draining and path == "/":
            raise HTTPException(503, "This app is being restarted. Come again in a minute.", IN_A_MINUTE)
        if path in OPERATOR_ROUTES:
            return
        if settings.public and self._open[ADDRESS.get()] > REQUESTS_PER_VISITOR * settings.visitors_per_address:
            raise HTTPException(429, "Too many pages are open in your network.", IN_A_MINUTE)
        if settings.public and not STATIC_FILES.match(path):
            self._count("requests", REQUESTS_PER_MESSAGE, 1)
        acts = (scope["method"] == "POST" and path.rstrip("/") != LOGIN) or path.startswith(HEARTBEATS)
        if settings.logins and acts and not _is_logged_in(scope):
            raise HTTPException(401, "Log in first.")

    def check_body(self, path: str, part: bytes, length: int) -> None:
        """Checks the next part of a body of `length` bytes so far. Raises HTTPException."""
        if length > {UPLOAD: MAX_UPLOAD_BODY, LOGIN: MAX_LOGIN_BODY}.get(path, MAX_BODY):
            raise HTTPException(413, "The request is too large.")
        if self._settings.public:
            self._count("bytes", BYTES_PER_MESSAGE, len(part))
        # Last, so that a part beyond the address's own limit uses up nothing of the others'.
        weight = len(part) + MIN_FILE * part.count(b"filename=")
        if path == UPLOAD and not self._rates.hit(UPLOAD_RATE, "uploads", cost=weight):
            raise HTTPException(503, "Too many files are being read here. Add yours in a few minutes.", IN_A_MINUTE)

    def _count(self, what: str, per_message: int, cost: int) -> None:
        """Raises HTTPException if the address exceeds its limit per minute."""
        messages = max(MIN_MESSAGES, self._settings.messages_per_minute * self._settings.visitors_per_address)
        if not self._rates.hit(RateLimitItemPerMinute(per_message * messages), what, ADDRESS.get(), cost=cost):
            raise HTTPException(429, f"There were too many {what} from your network. Wait a minute.", IN_A_MINUTE)

    def policy(self, page: bytes) -> str:
        """The Content-Security-Policy of a page: its own inline scripts run, and no others."""
        scripts = [*INLINE_SCRIPT.findall(page.decode(errors="replace")), self._script]
        digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
        return POLICY.format(scripts=" ".join(f"'sha256-{digest}'" for digest in digests), ancestors=self._ancestors)


class GuardedRequest:
    """The ASGI channels of one request: checks the body as it arrives, and adds security headers to the response."""

    def __init__(self, guard: SecurityMiddleware, path: str, receive: Receive, send: Send) -> None:
        self._guard, self._path, self._receive, self._send = guard, path, receive, send
        self._length = 0
        self._page: Message | None = None  # the start of an HTML page, until its body is there
        self.started = False

    async def receive(self) -> Message:
        """Raises HTTPException, which FastAPI answers."""
        message = await self._receive()
        if part := message.get("body"):
            self._length += len(part)
            self._guard.check_body(self._path, part, self._length)
        return message

    async def send(self, message: Message) -> None:
        if "text/html" in Headers(raw=message.get("headers", [])).get("content-type", ""):
            self._page = message
            return
        if self._page:
            await self.respond(self._page, self._guard.policy(message["body"]))
            self._page = None
        await self.respond(message)

    async def respond(self, message: Message, policy: str = "default-src 'none'; frame-ancestors 'none'") -> None:
        if message["type"] == "http.response.start":
            self.started = True
            MutableHeaders(raw=message["headers"]).update(HEADERS | {"content-security-policy": policy})
        await self._send(message)


def is_own_host(host: str, listening: str) -> bool:
    """Whether a Host header names this machine. A site whose DNS name points here has its own name in it."""
    name = re.sub(r":\d*$", "", host.lower()).strip("[]")
    return name in ("localhost", "127.0.0.1", "::1", listening.strip("[]").lower()) or name.endswith(".localhost")


def _error_response(path: str, error: Exception) -> Response:
    unknown_option = isinstance(error, TypeError) and str(error).startswith("Parameter `")  # in Gradio's words
    if unknown_option and path.startswith("/gradio_api/call/v2/"):
        error = HTTPException(422, str(error).partition(" Please click")[0])
    elif not isinstance(error, HTTPException):
        error = HTTPException(500, str(log_unexpected("answering a request", with_message=False)))
    if path.startswith("/gradio_api/"):  # as JSON, which the page shows
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)


def _is_logged_in(scope: Scope) -> bool:
    """Gradio's own check, which its routes that end a reply do not make."""
    app, cookies = scope["app"], Request(scope).cookies
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(cookies.get(name) in app.tokens for name in names)


def _is_cross_site(headers: Headers) -> bool:
    """Browsers say so. Older ones, and all without https, send the origin."""
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()


def _is_for_an_image(headers: Headers) -> bool:
    """Whether a page embeds the response. Browsers say so; without https only by the types they accept."""
    if "sec-fetch-dest" in headers:
        return headers["sec-fetch-dest"] in ("image", "audio", "video", "track", "font", "object", "embed")
    return headers.get("accept", "").startswith("image/")
