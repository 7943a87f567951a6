"""Prompting for a line: editing, history and completion, with keys through a pipe."""

import shutil
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from prompt_toolkit.input import PipeInput

from llama_ui.terminal.input import line_reader

CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"


def reader() -> Callable[[], Awaitable[str | None]]:
    return line_reader("User> ", ["/model", "/models", "/clear"], lambda: ["fake/llama", "other/llama-large"])


async def test_ctrl_c_clears_the_line_and_ctrl_d_ends(keyboard: PipeInput) -> None:
    read_line = reader()
    keyboard.send_text(f"gone{CTRL_C}hi\r{CTRL_D}")
    assert [await read_line() for _ in range(3)] == ["", "hi", None]


@pytest.mark.parametrize(
    ("keys", "line"), [("/mod\t other/l\t\r", "/model other/llama-large"), ("/cl\t\r", "/clear"), ("fa\t\r", "fa")]
)
async def test_tab_completes_commands_and_models(keyboard: PipeInput, keys: str, line: str) -> None:
    keyboard.send_text(keys)
    assert await reader()() == line


async def test_lines_are_remembered_in_a_private_file(keyboard: PipeInput, tmp_path: Path) -> None:
    keyboard.send_text("Tell me a joke\r")
    await reader()()
    history = next((tmp_path / "state").rglob("history"))
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    keyboard.send_text(f"{UP}\r")
    assert await reader()() == "Tell me a joke"


async def test_a_history_file_that_cannot_be_written_ends_no_chat(keyboard: PipeInput, tmp_path: Path) -> None:
    read_line = reader()
    shutil.rmtree(tmp_path / "state")
    (tmp_path / "state").touch()
    keyboard.send_text("hi\rthere\r")
    assert [await read_line(), await reader()()] == ["hi", "there"]
