"""What all tests share: a clean environment, no network unless asked for, and the fakes."""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.app_process import AppProcess, clean
from tests.support.fake_stack import FakeStack

# Ctrl-C is ignored by what a shell starts in the background, and by the programs that the tests start in turn.
signal.signal(signal.SIGINT, signal.default_int_handler)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--browser", action="store_true", help="also run the tests in a real Chromium")
    parser.addoption("--contract", action="store_true", help="also run the tests on real servers of every generation")
    parser.addoption("--write-matrix", action="store_true", help="write the README's server matrix anew")
    parser.addoption("--screenshots", action="store_true", help="write the README's screenshots anew")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        # Sockets are denied by default (--disable-socket); who asks for some reaches this machine only.
        if any(item.get_closest_marker(name) for name in ("loopback", "real_stack", "contract", "browser")):
            item.add_marker(pytest.mark.allow_hosts(["127.0.0.1", "localhost", "::1"]))
        if item.get_closest_marker("contract") and not config.getoption("--contract"):
            item.add_marker(pytest.mark.skip(reason="the tests on real servers run with --contract"))
        if item.get_closest_marker("browser"):
            if not config.getoption("--browser"):
                item.add_marker(pytest.mark.skip(reason="browser tests run with --browser"))
            elif CHROMIUM is None and not os.environ.get("CI"):
                item.add_marker(pytest.mark.skip(reason="no Chromium found (Debian: apt install chromium)"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - clean(os.environ).keys() - {"GRADIO_TEMP_DIR"}:  # which the app itself sets
        monkeypatch.delenv(name)
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")


@pytest.fixture
def stack() -> Iterator[FakeStack]:
    """A scripted Llama Stack server."""
    with FakeStack() as server:
        yield server


@pytest.fixture
def start_app(tmp_path: Path) -> Iterator[Callable[..., AppProcess]]:
    """Starts `app.py` as a process of its own: `start_app("--base-url", url)`; ended after the test."""
    with contextlib.ExitStack() as cleanup:

        def start(*arguments: str, **variables: str) -> AppProcess:
            return cleanup.enter_context(AppProcess(arguments, variables, cwd=tmp_path))

        yield start
