"""Start-up time of this app beside a bare `gr.ChatInterface`, measured in turns.

    python bench/startup.py [N]

Each of the N rounds (7 by default) starts each program once and requests its page until the answer is HTTP 200. One
round before them fills the system's file cache. Prints a Markdown table.
"""

import statistics
import sys

from programs import BARE, ROOT, free_port, running

APP = [sys.executable, str(ROOT / "app.py")]
PROGRAMS = {
    "`gr.ChatInterface(echo).launch()` alone": [sys.executable, "-c", BARE],
    "this app, no server (`--no-local`)": [*APP, "--no-local"],
    "this app, with the local stack": APP,
}


def measure(rounds: int) -> dict[str, list[float]]:
    """The start-up times of each program, in seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for number in range(rounds + 1):
        for name, start in PROGRAMS.items():
            with running(start, free_port()) as program:
                if number:
                    seconds[name].append(program.seconds)
    return seconds


def table(seconds: dict[str, list[float]]) -> str:
    """The results in Markdown. `ratio` is the median divided by that of the first program."""
    base = statistics.median(next(iter(seconds.values())))
    rows = ["| Start to page (HTTP 200), seconds | median | min | max | ratio |", "|---|---|---|---|---|"]
    for name, times in seconds.items():
        median = statistics.median(times)
        rows.append(f"| {name} | {median:.2f} | {min(times):.2f} | {max(times):.2f} | {median / base:.2f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 7)))
