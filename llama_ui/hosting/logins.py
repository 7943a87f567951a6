"""Login with the users and passwords of `--auth`, and the accounts of visitors who signed in with Hugging Face."""

import hashlib
import hmac
import math
import time
from collections.abc import MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any

from fastapi import HTTPException
from limits import RateLimitItemPerMinute

from llama_ui.hosting.limits import RateLimiter

# Failed logins from one address: for one user name, and for all of them.
FAILURES_PER_USER, FAILURES_PER_ADDRESS = RateLimitItemPerMinute(5), RateLimitItemPerMinute(30)
# The account or network address of the current request, set by the security middleware: Gradio passes none to `check`.
ADDRESS: ContextVar[str] = ContextVar("ADDRESS", default="")


class Logins:
    """Constant-time comparison, rate-limited after failures."""

    def __init__(self, logins: Sequence[tuple[str, str]]) -> None:
        self._logins = [(_digest(user), _digest(password)) for user, password in logins]
        self._failures = RateLimiter()

    async def check(self, user: str, password: str) -> bool:
        """Returns whether the password is the user's. Raises HTTPException 429 after too many failures."""
        address, user_digest, password_digest = ADDRESS.get(), _digest(user), _digest(password)
        limits = [(FAILURES_PER_USER, (address, user_digest.hex())), (FAILURES_PER_ADDRESS, (address,))]
        for rate, key in limits:
            if wait := self._failures.retry_after(rate, *key):
                raise HTTPException(429, f"Too many failed logins. Wait {wait} s.", {"Retry-After": str(wait)})
        # A list and `&`: all pairs are compared, whichever matches.
        matches = [
            hmac.compare_digest(known_user, user_digest) & hmac.compare_digest(known_password, password_digest)
            for known_user, known_password in self._logins
        ]
        if not any(matches):
            for rate, key in limits:
                self._failures.hit(rate, *key)
        return any(matches)


def account(scope: MutableMapping[str, Any]) -> str:
    """The Hugging Face account of a request, such as "@name"; blank if nobody signed in.

    Gradio keeps it in a cookie that it signs, for as long as the account's token is valid.
    """
    info = (scope.get("session") or {}).get("oauth_info") or {}
    name = info.get("userinfo", {}).get("preferred_username")
    return f"@{name}" if name and info.get("expires_at", math.inf) > time.time() else ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()
