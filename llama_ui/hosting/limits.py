"""Limits per visitor and per network address. All but the one on conversation length apply to a public app only."""

import ipaddress
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from llama_ui.core.errors import InputError, RateLimited
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings


@dataclass(frozen=True, slots=True)
class Visitor:
    """The sender of a request: a session, named by the page or a program, at a network address."""

    session: str
    address: str


class Limits:
    """Counts messages and concurrent replies. Use it on one event loop only."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._rates = FixedWindowRateLimiter(MemoryStorage())
        self._replies: Counter[str] = Counter()  # in progress, by key

    def check_length(self, messages: Sequence[Message]) -> None:
        """Raise InputError if the conversation is longer than `max_history_chars`."""
        length, limit = sum(len(message.content) for message in messages), self._settings.max_history_chars
        if length > limit:
            raise InputError(f"The conversation has {length:,} characters; at most {limit:,} are sent.", "Begin anew.")

    def sampling_options(self, options: SamplingOptions) -> SamplingOptions:
        """The options to send for a visitor: with `max_tokens` set. Raise InputError if the visitor's is too large."""
        limit = self._settings.max_tokens
        if not self._settings.public:
            return options
        if options.max_tokens is not None and options.max_tokens > limit:
            raise InputError(f"Max tokens is {options.max_tokens}.", f"Enter at most {limit}, or nothing.")
        if options.max_tokens is None and not self._connection.uses_local:  # the local stack has its own limit
            return replace(options, max_tokens=limit)
        return options

    def admit(self, visitor: Visitor) -> None:
        """Count one message, or something else that costs as much. Raise RateLimited if it is one too many."""
        if not self._settings.public:
            return
        rates = [
            (key, share, RateLimitItemPerMinute(self._settings.messages_per_minute * share))
            for key, share in self._keys(visitor)
        ]
        for key, share, rate in rates:  # all before any is counted: a refused message uses up nothing
            if not self._rates.test(rate, key):
                wait = max(1, round(self._rates.get_window_stats(rate, key).reset_time - time.time() + 0.5))
                raise RateLimited(
                    f"{_subject(share)} may send {rate.amount:,} message{'s' * (rate.amount > 1)} a minute here.",
                    f"Wait {wait} s, then send it again.",
                )
        for key, _, rate in rates:
            self._rates.hit(rate, key)

    @contextmanager
    def reply_slot(self, visitor: Visitor) -> Iterator[None]:
        """Count a message, and one concurrent reply until the block ends. Raise RateLimited if either is too many."""
        if not self._settings.public:
            yield
            return
        keys = self._keys(visitor)
        for key, share in keys:
            limit = self._settings.replies_at_once * share
            if self._replies[key] >= limit:
                raise RateLimited(
                    f"{_subject(share)} may have {limit:,} repl{'ies' if limit > 1 else 'y'} at once here.",
                    "Wait for one to end, then send it again.",
                )
        self.admit(visitor)
        self._replies.update(key for key, _ in keys)
        try:
            yield
        finally:
            self._replies.subtract(key for key, _ in keys)
            self._replies += Counter()  # drop the keys at zero

    def _keys(self, visitor: Visitor) -> list[tuple[str, int]]:
        """The keys to count under, each with the number of visitors who share it."""
        session, address = f"session {visitor.session} at {visitor.address}", f"address {visitor.address}"
        return [(session, 1), (address, self._settings.visitors_per_address)]


def network(host: str) -> str:
    """The network to count an address under: for IPv6 the /56 of one household (RIPE-690), else the address itself."""
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address), 56), strict=False))


def _subject(share: int) -> str:
    return "You" if share == 1 else "Your network"
