"""The line that the user types, with editing, history and completion. The only file that imports prompt_toolkit."""

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory
from prompt_toolkit.output import create_output
from prompt_toolkit.output.plain_text import PlainTextOutput
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.utils import is_dumb_terminal

from llama_ui.parsers import user_folder


def line_reader(
    label: str, commands: Sequence[str], models: Callable[[], Sequence[str]]
) -> Callable[[], Awaitable[str | None]]:
    """A function that prompts for a line, and completes `commands` and `models`. "" after Ctrl+C, None after Ctrl+D."""
    # Only menus need the position of the cursor, and not every terminal answers when asked for it.
    os.environ["PROMPT_TOOLKIT_NO_CPR"] = "1"
    stream = sys.stdout if sys.stdout.isatty() else sys.stderr
    output = PlainTextOutput(stream) if is_dumb_terminal() else create_output(stream)
    # Passed as an argument, the output would keep PromptSession from recognising a dumb terminal.
    with create_app_session(output=output):
        session = PromptSession[str](
            history=_History(),
            completer=WordCompleter(lambda: [*commands, *(f"/model {model}" for model in models())], sentence=True),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,  # a menu would need empty lines
        )

    async def read_line() -> str | None:
        try:
            return await session.prompt_async(label, set_exception_handler=False)
        except KeyboardInterrupt:
            return ""
        except EOFError:
            return None

    return read_line


class _History(FileHistory):
    """The lines of earlier chats, in a file that only its user can read. Where that fails, of this chat only."""

    def __init__(self) -> None:
        path = user_folder("state") / "history"
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        super().__init__(path)

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(string)
