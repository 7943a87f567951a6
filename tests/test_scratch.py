"""Temporary folders, and what an app that was killed has left in them."""

import subprocess
import sys
from pathlib import Path

from tests.support.app_process import ROOT

START = "from llama_ui.hosting import uploads; print(uploads.folder().name, flush=True); input()"


def start(parent: Path) -> tuple["subprocess.Popen[str]", Path]:
    """An app that uses a temporary folder until it reads a line, and that folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", START],
        env={"GRADIO_TEMP_DIR": str(parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_the_next_start_removes_what_a_killed_app_has_left_and_nothing_of_one_that_runs(tmp_path: Path) -> None:
    (tmp_path / "llama-ui-of-another-kind").mkdir()
    killed, left = start(tmp_path)
    running, used = start(tmp_path)
    killed.kill()
    killed.wait()
    assert (left / "files").is_dir()
    third, _ = start(tmp_path)
    assert not left.exists() and (used / "files").is_dir()
    for process in (running, third):
        process.communicate("\n")
    assert [path.name for path in tmp_path.iterdir()] == ["llama-ui-of-another-kind"]
