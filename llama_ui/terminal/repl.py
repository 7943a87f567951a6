"""The conversation loop of Llama Stack's text generation guide, in a terminal; or one message, through a pipe."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from llama_ui.core.errors import InputError
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.terminal.commands import COMMANDS, execute
from llama_ui.terminal.output import Output
from llama_ui.terminal.session import Session

EXIT_WORDS = ("exit", "quit", "bye")
BROKEN_PIPE = 141  # as a shell reports SIGPIPE


def run(settings: Settings) -> int:
    """Chats with the user where stdin is a terminal, else answers the piped message. Returns the exit status."""
    _prepare_streams()
    interactive = sys.stdin.isatty()
    output = Output(sys.stdout, sys.stderr, os.environ, "Assistant> " if interactive else "")
    connection = Connection(settings)
    session = Session(settings, connection, output)
    try:
        if interactive:
            asyncio.run(_connected(connection, chat(session)))
        elif (text := _read_stdin(settings.max_message_chars)).strip().lower() not in EXIT_WORDS:
            asyncio.run(_connected(connection, session.send(text)))
        return 0
    except BrokenPipeError:  # the reader has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at exit
        return BROKEN_PIPE
    except OSError:  # of a stream, which may be the one for errors
        raise
    except Exception as error:
        output.print_error(error)
        return 1
    finally:
        connection.close()


async def _connected(connection: Connection, chatting: Coroutine[Any, Any, object]) -> None:
    """Chats, and then closes the connections in the event loop that has used them."""
    try:
        await chatting
    finally:
        await connection.disconnect()


async def chat(session: Session) -> None:
    """Reads a line and answers it, until the user leaves. Ctrl+C stops the answer."""
    from llama_ui.terminal.input import line_reader  # imports prompt_toolkit, which a pipe does not need

    try:
        await session.start()
    except Exception as failure:  # the server may be running by the first message
        session.output.print_error(failure)
    loop = asyncio.get_running_loop()
    read_line = line_reader("User> ", COMMANDS, lambda: session.models)
    signal.signal(signal.SIGINT, lambda *_: None)  # between a reply and a prompt there is nothing to interrupt
    while (line := await read_line()) is not None and line.strip().lower() not in EXIT_WORDS:
        task = asyncio.create_task(execute(session, line))
        ignore = signal.signal(signal.SIGINT, lambda *_, task=task: loop.call_soon_threadsafe(task.cancel))
        await asyncio.wait([task])
        signal.signal(signal.SIGINT, ignore)
        if task.cancelled():
            session.output.print_status("Stopped.")
        elif isinstance(error := task.exception(), OSError):  # of the terminal itself
            raise error
        elif error:
            session.output.print_error(error)


def _prepare_streams() -> None:
    """Replaces streams that the caller closed, and lets the others print any character."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r+"))  # noqa: SIM115 - open until the process ends
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr] # typed as TextIO, which lacks it


def _read_stdin(max_chars: int) -> str:
    """Reads the piped message, without trailing whitespace. Raises InputError."""
    size = 4 * (max_chars + 1)  # no character takes more than four bytes, nor does a byte order mark
    data = sys.stdin.buffer.read(size)  # input without an end is not read further
    if len(data) == size:
        raise InputError(f"The message has more than {max_chars:,} characters, the maximum.", "Shorten it.")
    try:
        text = data.decode("utf-8-sig").rstrip()
    except UnicodeDecodeError as error:
        raise InputError("The input is not UTF-8 text.", "Convert it first.") from error
    if not text:
        raise InputError("The message is blank.", "Pipe in some text.")
    return text
