"""Printing to a terminal or a pipe: replies to stdout as they grow, everything else to stderr."""

import re
import shutil
from collections.abc import Mapping
from typing import TextIO

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import ChatError

CYAN, DIM, RED = "36", "2", "31"  # the guide prints replies in cyan
# Control characters except line breaks and tabs. A reply is untrusted text: it must not move the cursor, rename the
# window or write to the clipboard.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Output:
    """A line holds either an answer, reasoning or a status. Each starts a new line where another one is unfinished."""

    def __init__(self, out: TextIO, err: TextIO, environ: Mapping[str, str], label: str = "") -> None:
        """`label` is printed before each answer, on a terminal only."""
        self._out, self._err = out, err
        self._label = label if out.isatty() else ""
        self._pipe = None if out.isatty() else out  # gets the exact answer
        self._colored = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self._progress = ""
        self._open: TextIO | None = None  # where the last line is an unfinished one of a reply
        self._printed = {err: "", out: ""}  # of the current reply: its reasoning and its answer

    def print_status(self, text: str, color: str = DIM) -> None:
        """Prints lines that are not part of a reply."""
        self._start_line()
        self._write(self._err, text + "\n", color)

    def print_error(self, error: BaseException) -> None:
        known = isinstance(error, ChatError)
        text = str(error) if known else f"Something went wrong in this program ({type(error).__name__}). Try again."
        self.print_status(text.replace("`", ""), RED)

    def print_result(self, text: str) -> None:
        """Prints text that is meant to be copied or redirected."""
        self._start_line()
        self._write(self._out, text.rstrip("\n") + "\n")

    def show_progress(self, text: str) -> None:
        """Shows a line that whatever is printed next replaces. Only a terminal has one."""
        self._start_line()
        if self._err.isatty():
            self._progress = _CONTROLS.sub("", text)[: shutil.get_terminal_size().columns - 1]
            self._write(self._err, self._progress)

    def print_reply(self, reply: Reply) -> None:
        """Prints what is new in a reply. An answer that turns out to be reasoning is printed again as such."""
        self._print_growth(self._err, reply.reasoning, DIM)
        self._print_growth(self._out, reply.text, CYAN)

    def finish_reply(self, reply: Reply) -> None:
        """Prints the rest of a reply and ends its last line."""
        self.print_reply(reply)
        for stream in self._printed:
            self._end(stream)

    def _print_growth(self, stream: TextIO, text: str, color: str) -> None:
        text = text if stream is self._pipe else text.strip("\n")
        if not text.startswith(self._printed[stream]):
            self._end(stream)
        if new := text[len(self._printed[stream]) :]:
            if self._open is not stream:
                self._start_line()
                new = self._label + new if stream is self._out else new
            self._open, self._printed[stream] = stream, text  # before it is printed: a signal may come in between
            self._write(stream, new, color)

    def _end(self, stream: TextIO) -> None:
        """Ends the text that was printed of a reply."""
        self._start_line()
        if stream is self._pipe and self._printed[stream][-1:] not in ("", "\n"):
            self._write(stream, "\n")
        self._printed[stream] = ""

    def _start_line(self) -> None:
        """Clears the progress, and ends an unfinished line of a reply, except in a pipe."""
        if self._progress:
            self._err.write("\r" + " " * len(self._progress) + "\r")
            self._progress = ""
        if self._open and self._open is not self._pipe:
            self._write(self._open, "\n")
        self._open = None

    def _write(self, stream: TextIO, text: str, color: str = "") -> None:
        if stream.isatty():
            text = _CONTROLS.sub("", text)
            if text and color and self._colored:
                text = f"\x1b[{color}m{text}\x1b[0m"
        stream.write(text)
        stream.flush()
