"""Who may come in: the users and passwords of `--auth`."""

import hashlib
import hmac
import math
import time
from collections.abc import Sequence
from contextvars import ContextVar

from fastapi import HTTPException
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

# How often a user's password may be wrong, and all of them together, from one address within a minute.
FAILURES, FAILURES_OF_ALL = RateLimitItemPerMinute(5), RateLimitItemPerMinute(30)
# Where the request that is being answered comes from, which Gradio does not tell. Set by the gate.
ADDRESS: ContextVar[str] = ContextVar("ADDRESS", default="")


class Logins:
    """Compares in a time that does not tell how much was right, and with who failed often not at all for a while."""

    def __init__(self, logins: Sequence[tuple[str, str]]) -> None:
        self._known = [(_digest(user), _digest(password)) for user, password in logins]
        self._failures = FixedWindowRateLimiter(MemoryStorage())

    async def check(self, user: str, password: str) -> bool:
        """Whether they belong together. Raises HTTPException 429 where nothing is compared any more."""
        counted = [(FAILURES, (ADDRESS.get(), _digest(user).hex())), (FAILURES_OF_ALL, (ADDRESS.get(),))]
        for rate, key in counted:
            if not self._failures.test(rate, *key):
                wait = math.ceil(max(1, self._failures.get_window_stats(rate, *key).reset_time - time.time()))
                raise HTTPException(429, f"Too many failed logins. Wait {wait} s.", {"Retry-After": str(wait)})
        given = _digest(user), _digest(password)
        found = [hmac.compare_digest(a, given[0]) & hmac.compare_digest(b, given[1]) for a, b in self._known]
        if any(found):
            return True
        for rate, key in counted:
            self._failures.hit(rate, *key)
        return False


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()
