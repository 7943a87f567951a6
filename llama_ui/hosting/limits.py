"""Limits per visitor and per network address of a public app, and on the length of any conversation."""

import ipaddress
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from llama_ui.core.errors import InputError, RateLimited, Unsendable
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.text import as_code
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings

FEWER = "Each sample counts as one; ask for fewer."
# The extra fields that visitors of a public app may send: others may cost the operator money or time.
PUBLIC_FIELDS = ("top_k", "min_p", "repetition_penalty", "repeat_penalty", "logit_bias", "chat_template_kwargs")


@dataclass(frozen=True, slots=True)
class Visitor:
    """The sender of a request: a session, named by the page or a program, at a network address."""

    session: str
    address: str


class RateLimiter(FixedWindowRateLimiter):
    """Counts hits in fixed windows, in this process's memory."""

    def __init__(self) -> None:
        super().__init__(MemoryStorage())

    def retry_after(self, rate: RateLimitItem, *key: str, count: int = 1) -> int:
        """Returns the seconds until so many more hits are allowed, or 0 if they are allowed now."""
        if self.test(rate, *key, cost=count):
            return 0
        return max(1, math.ceil(self.get_window_stats(rate, *key).reset_time - time.time()))


class Limits:
    """Counts messages per minute and concurrent replies. Not thread-safe."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._rates = RateLimiter()
        self._replies: Counter[str] = Counter()

    def check_length(self, messages: Sequence[Message]) -> None:
        """Raises InputError if the conversation is too long to be sent."""
        length, limit = sum(len(message.content) for message in messages), self._settings.max_history_chars
        if length > limit:
            sentence = f"The conversation has {length:,} characters; at most {limit:,} are sent."
            raise Unsendable(sentence, "Start a new chat.")

    def sampling_options(self, options: SamplingOptions) -> SamplingOptions:
        """Returns the options with `max_tokens` set, if the app is public.

        Raises:
            InputError: `max_tokens` is too large, or there are extra fields that visitors may not send.
        """
        limit = self._settings.max_tokens
        if not self._settings.public:
            return options
        if other := [name for name in options.extra_body or () if name not in PUBLIC_FIELDS]:
            raise InputError(f"Extra fields cannot have {as_code(other[0])} here.", f"Use {', '.join(PUBLIC_FIELDS)}.")
        if options.max_tokens is not None and options.max_tokens > limit:
            raise InputError(f"Max tokens is {options.max_tokens}.", f"Enter at most {limit}, or nothing.")
        if options.max_tokens is None and not self._connection.uses_local:  # the local stack has its own limit
            return replace(options, max_tokens=limit, app_limit=True)
        return options

    def admit(self, visitor: Visitor, count: int = 1) -> None:
        """Counts messages, or something else that costs as much. Raises RateLimited if there are too many."""
        hits = []
        for key, subject, share in self._scopes(visitor):
            limit = self._settings.messages_per_minute * share
            rate = RateLimitItemPerMinute(limit)
            if wait := self._rates.retry_after(rate, key, count=count):
                sentence = f"{subject} may send {limit:,} message{'s' * (limit > 1)} a minute here."
                raise RateLimited(sentence, f"Wait {wait} s, then send it again." if count <= limit else FEWER)
            hits.append((rate, key))
        for rate, key in hits:
            self._rates.hit(rate, key, cost=count)

    @contextmanager
    def reply_slot(self, visitor: Visitor, count: int = 1) -> Iterator[None]:
        """Counts messages, and as many concurrent replies until the block ends. Raises RateLimited for too many.

        A message to which several replies are asked for counts as so many messages.
        """
        scopes = self._scopes(visitor)
        for key, subject, share in scopes:
            limit = self._settings.replies_at_once * share
            if self._replies[key] + count > limit:
                sentence = f"{subject} may have {limit:,} repl{'ies' if limit > 1 else 'y'} at once here."
                raise RateLimited(sentence, "Wait for one to end, then send it again." if count <= limit else FEWER)
        self.admit(visitor, count)
        replies = Counter({key: count for key, _, _ in scopes})
        self._replies += replies
        try:
            yield
        finally:
            self._replies -= replies  # keeps positive counts only

    def _scopes(self, visitor: Visitor) -> list[tuple[str, str, int]]:
        """Returns what to count: a key, its name in a sentence, and the number of visitors who share it."""
        if not self._settings.public:
            return []
        session, address = f"session {visitor.session} at {visitor.address}", f"address {visitor.address}"
        return [(session, "You", 1), (address, "Your network", self._settings.visitors_per_address)]


def network(host: str) -> str:
    """Returns what to count an address under: for IPv6 the /56 network of a household (RIPE-690), else the address."""
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address), 56), strict=False))
