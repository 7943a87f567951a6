"""The page in this process, served as the app serves it, for tests that talk to its API."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import wait
from typing import Any

from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.web import app


@contextlib.contextmanager
def served(**values: Any) -> Iterator[str]:
    """The address of a page with these settings."""
    settings = Settings(**values)
    connection = Connection(settings)
    turns = Turns(settings, connection)
    page = app.build(settings, connection, turns)
    url = app.launch(page, settings, connection, turns)
    try:
        wait([connection.start()])
        yield url
    finally:
        page.close(verbose=False)
        connection.close()


def said(output: list[dict[str, Any]]) -> str:
    """What one output of /chat shows, notes included."""
    return "\n".join(part["text"] for message in output for part in message["content"])


def reply_event(config: dict[str, Any]) -> int:
    """The event of the page that replies to a message that was typed: the first that the box's Stop cancels."""
    stops = [
        event["cancels"] for event in config["dependencies"] if [target[1] for target in event["targets"]] == ["stop"]
    ]
    return next(int(cancelled[0]) for cancelled in stops if cancelled)
