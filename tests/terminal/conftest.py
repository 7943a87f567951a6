"""A terminal in process: its screen, its keyboard, and sessions with the scripted server."""

import asyncio
import io
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input

from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import load
from llama_ui.terminal.commands import execute
from llama_ui.terminal.output import Output
from llama_ui.terminal.session import Session
from tests.support import SECONDS
from tests.support.fake_stack import FakeStack

SYSTEM = ("system", "You are a friendly assistant.")


def sent(stack: FakeStack) -> list[list[tuple[str, str]]]:
    """The messages of each request, as role and text."""
    return [[(message["role"], message["content"]) for message in body["messages"]] for body in stack.requests]


class Screen:
    """All text that was written to a terminal."""

    def __init__(self) -> None:
        self.text, self._position = "", 0
        self._written = asyncio.Event()

    def write(self, text: str) -> int:
        self.text += text
        self._written.set()
        return len(text)

    async def shows(self, text: str) -> None:
        """Waits for a text, after those that were waited for before."""
        async with asyncio.timeout(SECONDS):
            while (found := self.text.find(text, self._position)) < 0:
                self._written.clear()
                await self._written.wait()
        self._position = found + len(text)


class Tty(io.StringIO):
    """One of the two output streams of a terminal."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.write = screen.write  # type: ignore[method-assign] # both streams write to one screen

    def isatty(self) -> bool:
        return True


class Terminal:
    """A terminal without colours, on which sessions with the scripted server run."""

    def __init__(self, stack: FakeStack, keyboard: PipeInput) -> None:
        self.stack = stack
        self.type = keyboard.send_text  # what is typed early waits for the next prompt
        self.screen = Screen()
        self.output = Output(Tty(self.screen), Tty(self.screen), {"NO_COLOR": "1"}, "Assistant> ")

    @property
    def text(self) -> str:
        """What is on the screen: without progress that was overwritten."""
        return re.sub(r"[^\r\n]*\r *\r", "", self.screen.text)

    def session(self, *options: str) -> Session:
        settings = load(["--base-url", self.stack.url, *options], {})
        return Session(settings, Connection(settings), self.output)

    async def execute(self, *lines: str) -> None:
        """Runs the lines in one session, without a prompt."""
        session = self.session()
        for line in lines:
            await execute(session, line)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder to work in and to keep the history in. What Ctrl+C does is restored."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")  # line_reader sets it; here it is restored afterwards
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    """The keys of prompt_toolkit's prompts."""
    with create_pipe_input() as keys, create_app_session(input=keys):
        yield keys


@pytest.fixture
def terminal(stack: FakeStack, keyboard: PipeInput) -> Terminal:
    return Terminal(stack, keyboard)
