"""Printing to a terminal or a pipe: replies to stdout as they grow, everything else to stderr."""

import asyncio
import re
import shutil
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TextIO

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import ChatError
from llama_ui.core.reply import TICK_SECONDS

CYAN, DIM, RED = "36", "2", "31"  # the guide prints replies in cyan
# Control characters except line breaks and tabs. A reply is untrusted text: it must not move the cursor, rename the
# window or write to the clipboard.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Output:
    """A line holds either an answer, reasoning or a status. Each starts a new line where another one is unfinished."""

    def __init__(self, out: TextIO, err: TextIO, environ: Mapping[str, str], label: str = "") -> None:
        """`label` is printed before each answer, on a terminal only."""
        self._out, self._err, self._label = out, err, label
        self._colored = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self._progress_width = 0
        self._reply_stream: TextIO | None = None  # where the reply was last written to, and nothing else since
        self._line_open = False
        self._reasoning = self._answer = ""  # as printed

    def print_status(self, text: str, color: str = DIM) -> None:
        """Prints lines that are not part of a reply."""
        self._start_line()
        self._write(self._err, text, color)
        self._write(self._err, "\n")

    def print_notice(self, markdown: str, color: str = DIM) -> None:
        """Prints a sentence in Markdown."""
        self.print_status(markdown.replace("`", ""), color)

    def print_error(self, error: ChatError) -> None:
        self.print_notice(str(error), RED)

    def print_result(self, text: str) -> None:
        """Prints text that is meant to be copied or redirected."""
        self._start_line()
        self._write(self._out, text.rstrip("\n") + "\n")

    def show_progress(self, text: str) -> None:
        """Shows a line that whatever is printed next replaces. Only a terminal has one."""
        if not self._err.isatty() or not (text or self._progress_width):
            return
        self._start_line()
        line = _CONTROLS.sub("", text)[: shutil.get_terminal_size().columns - 1]
        self._write(self._err, line)
        self._progress_width = len(line)

    async def wait[T](self, work: Coroutine[Any, Any, T], progress: Callable[[], str]) -> T:
        """Awaits the work, and shows the progress meanwhile."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait([task], timeout=TICK_SECONDS))[0]:
                self.show_progress(progress())
            return task.result()
        finally:
            task.cancel()
            self.show_progress("")

    def print_reply(self, reply: Reply) -> None:
        """Prints what is new in a reply. An answer that turns out to be reasoning is printed again as such."""
        self._reasoning = self._print_growth(self._err, self._reasoning, reply.reasoning, DIM)
        self._answer = self._print_growth(self._out, self._answer, reply.text, CYAN)

    def finish_reply(self, reply: Reply) -> None:
        """Prints the rest of a reply and ends its last line."""
        self.print_reply(reply)
        self._start_line()
        if self._answer and not self._answer.endswith("\n") and not self._out.isatty():
            self._write(self._out, "\n")
        self._reasoning = self._answer = ""

    def _print_growth(self, stream: TextIO, printed: str, text: str, color: str) -> str:
        """Prints the text from where `printed` ends, or anew if it does not start so. Returns what is printed now."""
        text = text.lstrip("\n") if stream.isatty() else text
        if not text.startswith(printed):
            self._start_line()
            if not stream.isatty() and not printed.endswith("\n"):
                self._write(stream, "\n")
            printed = ""
        if text == printed:
            return text
        if self._reply_stream is not stream:
            self._start_line()
            if stream is self._out and stream.isatty():
                self._write(stream, self._label, color)
        self._write(stream, text[len(printed) :], color)
        self._reply_stream, self._line_open = stream, not text.endswith("\n")
        return text

    def _start_line(self) -> None:
        """Clears the progress and ends an unfinished line of a reply, except in a pipe: that gets the exact text."""
        if self._progress_width:
            self._err.write("\r" + " " * self._progress_width + "\r")
            self._progress_width = 0
        stream = self._reply_stream
        if stream and self._line_open and (stream is self._err or stream.isatty()):
            self._write(stream, "\n")
        self._reply_stream = None

    def _write(self, stream: TextIO, text: str, color: str = "") -> None:
        if stream.isatty():
            text = _CONTROLS.sub("", text)
            if text and color and self._colored:
                text = f"\x1b[{color}m{text}\x1b[0m"
        stream.write(text)
        stream.flush()
