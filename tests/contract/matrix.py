"""The matrices in the documents: what the contract tests found on each server."""

from collections import defaultdict

COLUMNS = [
    "Chat route",
    "Models",
    "Text, history",
    "Sampling",
    "Seed",
    "Reasoning effort",
    "Images",
    "Usage",
    "Finish reason",
    "Reasoning",
    "Stop",
    "`--check`",
]
OPTIONS = [
    "JSON schema",
    "Token probabilities",
    "Samples",
    "Stop sequences",
    "Frequency penalty",
    "Presence penalty",
    "Thinking",
    "Extra fields",
]
# Row -> column -> cell. A row is the server's name and its route.
results: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)


def record(row: tuple[str, str], column: str, cell: bool | str) -> None:
    """Enters a result, of which "yes" and "no" are the shortest."""
    results[row][column] = ("no", "yes")[cell] if isinstance(cell, bool) else cell


def table(rows: list[tuple[str, str]], columns: list[str]) -> str | None:
    """A matrix in Markdown; None unless all the tests have run."""
    if any(not set(columns) <= results[row].keys() | {"Chat route"} for row in rows):
        return None
    lines = [f"| Server | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        name, route = row
        cells = {"Chat route": f"`{route}`"} | results[row]
        lines.append(f"| {name} | {' | '.join(cells[column] for column in columns)} |")
    return "\n".join(lines)
