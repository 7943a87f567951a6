"""What Prometheus is told: how many turns, how they ended, how fast they were, and who is there now."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from llama_ui.core.stats import Stats

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
OUTCOMES = ("answered", "stopped", "failed")
SPEEDS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Metrics:
    """Those of one app. No label has anything in it that a visitor can choose."""

    def __init__(self, visitors: Callable[[], int], answered: Callable[[], int], waiting: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self._turns = Counter("llama_ui_turns", "Turns, by how they ended.", ["outcome"], registry=registry)
        self._failures = Counter("llama_ui_failures", "Turns that failed, by kind.", ["kind"], registry=registry)
        self._first = Histogram(
            "llama_ui_time_to_first_token_seconds",
            "From the request to its first token.",
            buckets=SECONDS,
            registry=registry,
        )
        self._speed = Histogram(
            "llama_ui_tokens_per_second", "Of one reply, after its first token.", buckets=SPEEDS, registry=registry
        )
        for outcome in OUTCOMES:
            self._turns.labels(outcome)  # there from the start, at zero
        for name, what, count in (
            ("llama_ui_visitors", "Pages that are open now.", visitors),
            ("llama_ui_replies", "Replies that are being given now.", answered),
            ("llama_ui_waiting", "Visitors who wait in line now.", waiting),
        ):
            Gauge(name, what, registry=registry).set_function(count)

    def count(self, outcome: str, kind: str | None, stats: Stats) -> None:
        """`kind`: that of the failure, if it was one."""
        self._turns.labels(outcome).inc()
        if kind:
            self._failures.labels(kind).inc()
        if stats.first is not None:
            self._first.observe(stats.first)
        if stats.tokens_per_second is not None:
            self._speed.observe(stats.tokens_per_second)

    def text(self) -> bytes:
        return generate_latest(self._registry)
