"""The turns of all visitors: how many each may have while strangers are let in, and what becomes known of each."""

import ipaddress
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, replace

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import ChatError, InputError, RateLimited, Restarting
from llama_ui.core.logs import log_turn, log_unexpected
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reply import respond
from llama_ui.hosting.metrics import Metrics
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings

# Seconds that a reply which the end of the app cuts off has for saying so.
FAREWELL = 4.0


@dataclass(frozen=True)
class Visitor:
    """Who asks: `session` is what the page, or a program, calls itself; `address` is where it comes from."""

    session: str
    address: str


class Visitors:
    """Belongs to one event loop, but for `drain` and `end`."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._rates = FixedWindowRateLimiter(MemoryStorage())
        self._now: Counter[str] = Counter()  # replies that are being given, by who gets them
        self._unnoted: dict[str, Callable[[], None]] = {}  # by reference, what notes a turn that has not ended
        self.draining = False
        self._over = False
        self.pages = 0  # that are open
        self._streams = 0  # in which replies are on their way
        line = connection.queue
        self.metrics = Metrics(lambda: self.pages, lambda: line.active, lambda: line.waiting)

    async def respond(
        self, visitor: Visitor, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Reply, None]:
        """As `chat.respond`, for one visitor. Never raises: what keeps one from an answer is the last turn's error."""
        turn, reference, began = Reply(), uuid.uuid4().hex[:8], time.monotonic()
        self._unnoted[reference] = lambda: self._note(reference, time.monotonic() - began, turn, messages)
        try:
            self._check_length(messages)
            with self._given(visitor):
                async with aclosing(respond(self._connection.stream, model, messages, options)) as turns:
                    async for turn in turns:
                        if self._over and not turn.ended:
                            raise Restarting(
                                "This app was ended before the reply was complete.", "Try again in a minute."
                            )
                        yield turn
        except ChatError as error:
            turn = replace(turn, waited=None, ended=True, error=error)
            yield turn
        except Exception:
            turn = replace(turn, waited=None, ended=True, error=log_unexpected("replying", reference))
            yield turn
        finally:
            if note := self._unnoted.pop(reference, None):
                note()

    def _check_length(self, messages: Sequence[Message]) -> None:
        length, most = sum(len(message.content) for message in messages), self._settings.max_history_chars
        if length > most:
            raise InputError(f"The conversation has {length:,} characters; at most {most:,} are sent.", "Begin anew.")

    def admit(self, visitor: Visitor) -> None:
        """Counts what costs as much as a message. Raises ChatError where it would be one too many."""
        if self.draining:
            raise Restarting("This app is being restarted.", "Send it again in a minute.")
        if not self._settings.public:
            return
        for key, share in self._keys(visitor):
            rate = RateLimitItemPerMinute(self._settings.messages_per_minute * share)
            if not self._rates.test(rate, key):
                raise RateLimited(
                    f"{_whom(share)} may send {rate.amount:,} message{'s' * (rate.amount > 1)} a minute here.",
                    f"Wait {self._wait(rate, key)} s, then send it again.",
                )
        for key, share in self._keys(visitor):
            self._rates.hit(RateLimitItemPerMinute(self._settings.messages_per_minute * share), key)

    def options(self, options: SamplingOptions) -> SamplingOptions:
        """The options with which a visitor is answered. Raises InputError for more tokens than one may have."""
        most = self._settings.max_tokens
        if not self._settings.public:
            return options
        if options.max_tokens is not None and options.max_tokens > most:
            raise InputError(f"Max tokens is {options.max_tokens}.", f"Enter at most {most}, or nothing.")
        if options.max_tokens is None and not self._connection.uses_local:  # which has a limit of its own
            return replace(options, max_tokens=most)
        return options

    @contextmanager
    def page(self) -> Iterator[None]:
        """While a page is open."""
        self.pages += 1
        try:
            yield
        finally:
            self.pages -= 1

    @contextmanager
    def stream(self) -> Iterator[None]:
        """While replies are on their way to somebody."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def drain(self, seconds: float) -> None:
        """Takes no more messages, and waits until the replies that are being given have arrived; so long at the most.
        Called from another thread than all else."""
        self.draining = True
        until = time.monotonic() + seconds
        while (self._now or self._streams) and time.monotonic() < until:
            time.sleep(0.05)

    def end(self) -> None:
        """Ends the replies that are being given, each with a sentence, and notes the turns that do not end by that.
        Called from another thread than all else."""
        self._over = True
        try:
            self.drain(FAREWELL)
        finally:
            for reference in list(self._unnoted):
                if note := self._unnoted.pop(reference, None):
                    note()

    @contextmanager
    def _given(self, visitor: Visitor) -> Iterator[None]:
        """While a reply is given."""
        keys = self._keys(visitor)
        for key, share in keys:
            most = self._settings.replies_at_once * share
            if self._settings.public and self._now[key] >= most:
                raise RateLimited(
                    f"{_whom(share)} may have {most:,} repl{'ies' if most > 1 else 'y'} at once here.",
                    "Wait for one to end, then send it again.",
                )
        self.admit(visitor)
        self._now.update(key for key, _ in keys)
        try:
            yield
        finally:
            self._now.subtract(key for key, _ in keys)
            self._now += Counter()  # forgets those who have none

    def _keys(self, visitor: Visitor) -> list[tuple[str, int]]:
        """What is counted, and how many visitors' share each has."""
        session, address = f"session {visitor.session} at {visitor.address}", f"address {visitor.address}"
        return [(session, 1), (address, self._settings.visitors_per_address)]

    def _wait(self, rate: RateLimitItem, key: str) -> int:
        return max(1, round(self._rates.get_window_stats(rate, key).reset_time - time.time() + 0.5))

    def _note(self, reference: str, took: float, turn: Reply, messages: Sequence[Message]) -> None:
        outcome = "failed" if turn.error else "answered" if turn.ended else "stopped"
        kind = type(turn.error).__name__ if turn.error else None
        self.metrics.count(outcome, kind, turn.stats)
        content = {}
        if self._settings.log_content:
            said = [{"role": message.role, "content": message.content} for message in messages]
            content = {"messages": said, "reply": turn.text, "reasoning": turn.reasoning or None}
        numbers = asdict(turn.stats) if turn.model else {}
        log_turn(
            self._settings.log_format,
            {"id": reference, "model": turn.model or None, "outcome": outcome, "kind": kind}
            | {"seconds": took, "tokens_per_second": turn.stats.tokens_per_second, **numbers, **content},
        )


def network(host: str) -> str:
    """An address as it is counted: with IPv6 the network that a household has (a /56, as RIPE recommends)."""
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address), 56), strict=False))


def _whom(share: int) -> str:
    return "You" if share == 1 else "Your network"
