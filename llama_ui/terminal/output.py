"""What a terminal shows: replies on stdout as they grow, all else on stderr; in colour where that is wanted."""

import asyncio
import re
import shutil
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TextIO

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import ChatError
from llama_ui.core.reply import TICK_SECONDS

REPLY, DIM, ALERT = "36", "2", "31"  # the guide's replies are cyan
# What a terminal obeys, except line breaks and tabs. A reply may come from anybody: it must not move the cursor, rename
# the window or write into the clipboard.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Output:
    """One line at a time belongs to a reply, to its thoughts or to a status; each begins a new line for itself."""

    def __init__(self, out: TextIO, err: TextIO, environ: Mapping[str, str], label: str = "") -> None:
        """`label` stands before each answer, where a terminal shows it."""
        self._out, self._err, self._label = out, err, label
        self._coloured = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self._status = 0  # the length of the line that is rewritten
        self._reply: TextIO | None = None  # which of the two a reply is being written to
        self._within = False  # a line of it
        self._thought = self._answer = ""

    def say(self, text: str, colour: str = DIM) -> None:
        """Lines that are no reply."""
        self._begin_line()
        self._write(self._err, text, colour)
        self._write(self._err, "\n")

    def sentence(self, text: str, colour: str = DIM) -> None:
        """The same, of Markdown."""
        self.say(text.replace("`", ""), colour)

    def complain(self, error: ChatError) -> None:
        self.sentence(str(error), ALERT)

    def status(self, text: str) -> None:
        """One line that the next one takes the place of; blank: none. Only where somebody looks on."""
        if not self._err.isatty() or not (text or self._status):
            return
        self._begin_line()
        shown = _CONTROLS.sub("", text)[: shutil.get_terminal_size().columns - 1]
        self._write(self._err, shown)
        self._status = len(shown)

    async def watch[T](self, work: Coroutine[Any, Any, T], told: Callable[[], str]) -> T:
        """Awaits the work; shows meanwhile how far it is."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait([task], timeout=TICK_SECONDS))[0]:
                self.status(told())
            return task.result()
        finally:
            task.cancel()
            self.status("")

    def output(self, text: str) -> None:
        """What was asked for to be copied or redirected."""
        self._begin_line()
        self._write(self._out, text.rstrip("\n") + "\n")

    def show(self, turn: Reply) -> None:
        """What is new of a reply. Where what was taken for the answer turned out to be a thought, it is shown anew."""
        self._thought = self._grow(self._err, self._thought, turn.reasoning, DIM)
        self._answer = self._grow(self._out, self._answer, turn.text, REPLY)

    def end(self, turn: Reply) -> None:
        """All of the reply that there is, and the end of its last line."""
        self.show(turn)
        self._begin_line()
        if self._answer and not self._answer.endswith("\n") and not self._out.isatty():
            self._write(self._out, "\n")
        self._thought = self._answer = ""

    def _grow(self, stream: TextIO, old: str, text: str, colour: str) -> str:
        new = text.lstrip("\n") if stream.isatty() else text
        if not new.startswith(old):
            self._begin_line()
            if not stream.isatty() and not old.endswith("\n"):
                self._write(stream, "\n")
            old = ""
        if new == old:
            return new
        if self._reply is not stream:
            self._begin_line()
            if stream is self._out and stream.isatty():
                self._write(stream, self._label, colour)
        self._write(stream, new[len(old) :], colour)
        self._reply, self._within = stream, not new.endswith("\n")
        return new

    def _begin_line(self) -> None:
        """Ends the line that was begun on the terminal; in a pipe a reply stays as it is."""
        if self._status:
            self._err.write("\r" + " " * self._status + "\r")
            self._status = 0
        if self._reply and self._within and (self._reply is self._err or self._reply.isatty()):
            self._write(self._reply, "\n")
        self._reply = None

    def _write(self, stream: TextIO, text: str, colour: str = "") -> None:
        if stream.isatty():
            text = _CONTROLS.sub("", text)
            if text and colour and self._coloured:
                text = f"\x1b[{colour}m{text}\x1b[0m"
        stream.write(text)
        stream.flush()
