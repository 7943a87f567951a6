"""The installed package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.app_process import ROOT, clean


@pytest.mark.slow
def test_the_installed_package_is_complete_and_its_commands_start(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(ROOT / "llama_ui", source / "llama_ui", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # A copy, because the build leaves files beside the source.
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--target", target, source], check=True)
    files = {path.relative_to(source) for path in (source / "llama_ui").rglob("*") if path.is_file()}
    assert files <= {path.relative_to(target) for path in target.rglob("*")}
    environment = clean(os.environ) | {"PYTHONPATH": str(target)}
    for command in ("llama-ui", "llama-ui-chat"):
        start = [sys.executable, target / "bin" / command, "--help"]
        help_text = subprocess.run(start, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert help_text.stdout.startswith(f"usage: {command}") and "--base-url" in help_text.stdout
