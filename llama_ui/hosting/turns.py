"""The turns in progress: limits, one log line and metrics for each, and shutdown without cutting replies off."""

import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import ChatError, Restarting
from llama_ui.core.logs import log_unexpected
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.reply import finish, respond
from llama_ui.hosting.limits import Limits, Visitor
from llama_ui.hosting.logs import log_turn
from llama_ui.hosting.metrics import Metrics
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings

# Seconds that `end` waits for the replies that it cuts off.
END_TIMEOUT = 4.0


@dataclass(slots=True)
class _Turn:
    """A turn in progress, with the last snapshot of its reply."""

    messages: Sequence[Message]
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    start: float = field(default_factory=time.monotonic)
    reply: Reply = Reply()


class Turns:
    """All visitors' turns. Use it on one event loop only, except for `drain` and `end`."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self.limits = Limits(settings, connection)
        self.metrics = Metrics(connection.queue)
        self.draining = False
        self._ending = False
        self._running: dict[str, _Turn] = {}
        self._streams = 0

    async def respond(
        self, visitor: Visitor, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Reply, None]:
        """Yields snapshots of one visitor's reply, as `core.reply.respond` does. Logs and counts the turn.

        Never raises: the last snapshot has the error, also if a limit is exceeded.
        """
        turn = _Turn(messages)
        self._running[turn.id] = turn
        try:
            if self.draining:
                raise Restarting("This app is being restarted.", "Send it again in a minute.")
            self.limits.check_length(messages)
            with self.limits.reply_slot(visitor, options.n or 1):
                async with aclosing(respond(self._connection.stream, model, messages, options)) as replies:
                    async for reply in replies:
                        turn.reply = reply
                        if self._ending and not reply.ended:
                            sentence = "This app was ended before the reply was complete."
                            raise Restarting(sentence, "Try again in a minute.")
                        yield reply
        except Exception as error:
            known = error if isinstance(error, ChatError) else log_unexpected("replying", turn.id)
            turn.reply = finish(turn.reply, known)
            yield turn.reply
        finally:
            self._finish(turn)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Counts a response that carries replies, so that `drain` waits until it is sent."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def drain(self, seconds: float) -> None:
        """Refuses new messages, and blocks for at most `seconds` until the running replies have been sent."""
        self.draining = True
        deadline = time.monotonic() + seconds
        while (self._running or self._streams) and time.monotonic() < deadline:
            time.sleep(0.05)

    def end(self) -> None:
        """Ends each running reply with a sentence, and logs those that do not end in time. Blocks as well."""
        self._ending = True
        try:
            self.drain(END_TIMEOUT)
        finally:  # also on a second Ctrl+C
            for turn in list(self._running.values()):
                self._finish(turn)

    def _finish(self, turn: _Turn) -> None:
        """Counts and logs a turn, once."""
        if self._running.pop(turn.id, None) is None:
            return
        reply, stats = turn.reply, turn.reply.stats
        outcome = "failed" if reply.error else "answered" if reply.ended else "stopped"
        kind = type(reply.error).__name__ if reply.error else None
        self.metrics.count(outcome, kind, stats)
        fields: dict[str, Any] = {"id": turn.id, "model": reply.model or None, "outcome": outcome, "kind": kind}
        fields |= {"seconds": time.monotonic() - turn.start, "tokens_per_second": stats.tokens_per_second}
        fields |= asdict(stats) if reply.model else {}
        if self._settings.log_content:
            messages = [{"role": message.role, "content": message.content} for message in turn.messages]
            fields |= {"messages": messages, "reply": reply.text, "reasoning": reply.reasoning or None}
        log_turn(self._settings.log_format, fields)
