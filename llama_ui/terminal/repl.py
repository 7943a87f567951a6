"""The conversation loop of Llama Stack's text generation guide, in a terminal; or one message, through a pipe."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from llama_ui.core.errors import ChatError, InputError
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.terminal.commands import COMMANDS, execute
from llama_ui.terminal.output import Output
from llama_ui.terminal.session import Session

log = logging.getLogger(__name__)
EXIT_WORDS = ("exit", "quit", "bye")
BROKEN_PIPE = 141  # as a shell reports SIGPIPE


class Interrupted(Exception):
    """A signal cancelled the work; the argument is its number."""


def run(settings: Settings) -> int:
    """Chats with the user where stdin is a terminal, else answers the piped message. Returns the exit status."""
    _prepare_streams()
    interactive = sys.stdin.isatty()
    output = Output(sys.stdout, sys.stderr, os.environ, "Assistant> " if interactive else "")
    connection = Connection(settings)
    session = Session(settings, connection, output)
    try:
        if interactive:
            signal.signal(signal.SIGINT, lambda *_: None)  # between a reply and a prompt there is nothing to interrupt
            asyncio.run(_run_until(signal.SIGTERM, chat(session)))
        elif (text := _read_stdin(settings.max_message_chars)).strip().lower() not in EXIT_WORDS:
            asyncio.run(_run_until(signal.SIGTERM, _run_until(signal.SIGINT, session.send(text))))
        return 0
    except ChatError as error:
        output.print_error(error)
        return 1
    except Interrupted as error:
        return 128 + int(error.args[0])  # as a shell reports it
    except BrokenPipeError:  # the reader has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at exit
        return BROKEN_PIPE
    finally:
        connection.close()


async def chat(session: Session) -> None:
    """Reads a line and answers it, until the user leaves."""
    from llama_ui.terminal.input import line_reader  # imports prompt_toolkit, which a pipe does not need

    try:
        await _run_until(signal.SIGINT, session.start())
    except ChatError as error:  # the server may be running by the first message
        session.output.print_error(error)
    read_line = line_reader("User> ", COMMANDS, lambda: session.models)
    while (line := await read_line()) is not None and line.strip().lower() not in EXIT_WORDS:
        try:
            await _run_until(signal.SIGINT, execute(session, line))
        except Interrupted:
            session.output.print_status("Stopped.")
        except ChatError as error:
            session.output.print_error(error)


async def _run_until(number: int, work: Coroutine[Any, Any, object]) -> None:
    """Runs the work, which the signal cancels. Raises Interrupted then, and ChatError for an unexpected exception."""
    task, loop = asyncio.create_task(work), asyncio.get_running_loop()
    previous = signal.signal(number, lambda *_: loop.call_soon_threadsafe(task.cancel))
    try:
        await asyncio.wait([task])
        if task.cancelled():
            raise Interrupted(number)
        task.result()
    except (Interrupted, ChatError, OSError):  # OSError: the terminal itself, where no message can be printed
        raise
    except Exception as error:
        log.debug("Unexpected exception", exc_info=True)
        raise ChatError(f"Something went wrong in this program ({type(error).__name__}).", "Try again.") from error
    finally:
        signal.signal(number, previous)


def _prepare_streams() -> None:
    """Replaces streams that the caller closed, and lets the others print any character."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r+"))  # noqa: SIM115 - open until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


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
