"""The line that a person types, with editing, history and completion. The only file that imports prompt_toolkit."""

import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import platformdirs
from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory
from prompt_toolkit.output import create_output
from prompt_toolkit.output.plain_text import PlainTextOutput
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.utils import is_dumb_terminal


class Cleared(Exception):
    """Ctrl-C took the line away."""


def prompt(label: str, commands: Sequence[str], models: Callable[[], Sequence[str]]) -> Callable[[], Awaitable[str]]:
    """What asks for a line. It raises Cleared, and EOFError at the end. `models`: those that can be chosen by now."""

    # It would ask the terminal where the cursor is, which only menus need, and not every terminal answers.
    os.environ["PROMPT_TOOLKIT_NO_CPR"] = "1"
    stream = sys.stdout if sys.stdout.isatty() else sys.stderr
    output = PlainTextOutput(stream) if is_dumb_terminal() else create_output(stream)
    # Not as an argument: then dumb terminals would not be known as such.
    with create_app_session(output=output):
        session = PromptSession[str](
            history=_History(platformdirs.user_state_path("llama-ui") / "history"),
            completer=_Completer(commands, models),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,  # a menu would need empty lines
            interrupt_exception=Cleared,
        )
    return lambda: session.prompt_async(label, set_exception_handler=False)


class _History(FileHistory):
    """What was typed, in a file of the user's alone; where there can be none, it is forgotten."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)

    def load_history_strings(self) -> Iterable[str]:
        with suppress(OSError):
            return list(super().load_history_strings())
        return []

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(string)


class _Completer(Completer):
    """Tab completes commands, and behind /model the models."""

    def __init__(self, commands: Sequence[str], models: Callable[[], Sequence[str]]) -> None:
        self._commands, self._models = commands, models

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        begun = document.text_before_cursor
        choices = self._commands
        if begun.startswith("/model "):
            begun, choices = begun.removeprefix("/model ").lstrip(), self._models()
        return [Completion(choice, -len(begun)) for choice in choices if choice.startswith(begun)]
