"""Metrics for Prometheus. Their names are relied on by dashboards; no label has a value that a visitor can choose."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from llama_ui.core.stats import Stats
from llama_ui.llama_stack.queue import AdmissionQueue

SECONDS_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
SPEED_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Metrics:
    """The metrics of one app, in a registry of its own. `queue` is the one that replies wait in."""

    def __init__(self, queue: AdmissionQueue) -> None:
        self._registry = registry = CollectorRegistry()
        self._turns = Counter("llama_ui_turns", "Turns, by outcome.", ["outcome"], registry=registry)
        for outcome in ("answered", "stopped", "failed"):
            self._turns.labels(outcome)  # exported from the start, at zero
        self._failures = Counter("llama_ui_failures", "Failed turns, by kind of error.", ["kind"], registry=registry)
        histogram = partial(Histogram, registry=registry)
        first, speed = "Time from the request to its first token.", "Tokens per second after the first token."
        self._first = histogram("llama_ui_time_to_first_token_seconds", first, buckets=SECONDS_BUCKETS)
        self._speed = histogram("llama_ui_tokens_per_second", speed, buckets=SPEED_BUCKETS)
        self.pages = Gauge("llama_ui_visitors", "Open pages.", registry=registry)
        Gauge("llama_ui_replies", "Replies in progress.", registry=registry).set_function(lambda: queue.active)
        Gauge("llama_ui_waiting", "Messages in the queue.", registry=registry).set_function(lambda: queue.waiting)

    def count(self, outcome: str, kind: str | None, stats: Stats) -> None:
        """Counts a turn that has ended. `kind` is the class name of its error, if it failed."""
        self._turns.labels(outcome).inc()
        if kind:
            self._failures.labels(kind).inc()
        if stats.first is not None:
            self._first.observe(stats.first)
        if stats.tokens_per_second is not None:
            self._speed.observe(stats.tokens_per_second)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)
