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
from llama_ui.terminal.output import Output
from llama_ui.terminal.session import COMMANDS, Session

log = logging.getLogger(__name__)
EXIT_WORDS = ("exit", "quit", "bye")
BROKEN_PIPE, INTERRUPTED, TERMINATED = 141, 130, 143  # what a shell makes of SIGPIPE, SIGINT and SIGTERM


class Stopped(Exception):
    """Ctrl-C."""


def run(settings: Settings) -> int:
    """Talks with a person where stdin is a terminal; else answers what is piped in. Returns the exit status."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it prints tracebacks
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started it
            setattr(sys, name, Path(os.devnull).open("r+"))  # noqa: SIM115 - open until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    piped = not sys.stdin.isatty()
    screen = Output(sys.stdout, sys.stderr, os.environ, "" if piped else "Assistant> ")
    connection = Connection(settings)
    conversation = Session(settings, connection, screen)
    try:
        if piped:
            text = _all_of_stdin(settings.max_message_chars)
            if not _is_exit(text):
                asyncio.run(_terminable(_stoppable(conversation.reply(text))))
        else:
            asyncio.run(_terminable(_converse(conversation, screen)))
        return 0
    except ChatError as error:
        screen.complain(error)
        return 1
    except Stopped:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
    except BrokenPipeError:  # who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at the end
        return BROKEN_PIPE
    finally:
        connection.close()


async def _terminable[T](work: Coroutine[Any, Any, T]) -> T:
    """Does the work, which SIGTERM cancels."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task
    signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(task.cancel))
    return await work


async def _stoppable[T](work: Coroutine[Any, Any, T]) -> T:
    """Does the work, which Ctrl-C cancels: raises Stopped then. Raises ChatError for what nobody foresaw, too."""
    task, loop = asyncio.create_task(work), asyncio.get_running_loop()
    before = signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(task.cancel))
    try:
        await asyncio.wait([task])
    finally:
        signal.signal(signal.SIGINT, before)
        if not task.done():  # told to end
            task.cancel()
            await asyncio.wait([task])
    try:
        return task.result()
    except asyncio.CancelledError as error:
        raise Stopped from error
    except (ChatError, OSError):  # the second is the terminal's own, which cannot be told anything
        raise
    except Exception as error:
        log.debug("What nobody foresaw", exc_info=True)
        raise ChatError(f"Something went wrong in this program ({type(error).__name__}).", "Try again.") from error


async def _converse(conversation: Session, screen: Output) -> None:
    from llama_ui.terminal.input import Cleared, prompt

    try:
        await _stoppable(conversation.begin())
    except ChatError as error:  # may be mended by the time of the first message
        screen.complain(error)
    signal.signal(signal.SIGINT, lambda *_: None)  # between a reply and the prompt there is nothing to stop
    ask = prompt("User> ", COMMANDS, lambda: conversation.models)
    while True:
        try:
            entered = await ask()
            if _is_exit(entered):
                return
            await _stoppable(conversation.take(entered))
        except Cleared:
            continue
        except EOFError:
            return
        except Stopped:
            screen.say("Stopped.")
        except ChatError as error:
            screen.complain(error)


def _is_exit(text: str) -> bool:
    return text.strip().lower() in EXIT_WORDS


def _all_of_stdin(most: int) -> str:
    """What is piped in, without what is blank at its end. No more is read as soon as it is more than the characters
    that can be sent, `most`. Raises InputError."""
    data = sys.stdin.buffer.read(4 * most + 4)  # no character has more than four bytes; and a byte order mark
    if len(data) == 4 * most + 4:
        raise InputError(
            f"The message has more than {most:,} characters, which is the most that is sent.", "Shorten it."
        )
    try:
        text = data.decode("utf-8-sig").rstrip()
    except UnicodeDecodeError as error:
        raise InputError("What was piped in is not text in UTF-8.", "Convert it first.") from error
    if not text:
        raise InputError("The message is blank.", "Pipe in something to send.")
    return text
