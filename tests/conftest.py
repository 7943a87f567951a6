"""Shared by all tests: a clean environment, no network access by default, and the fake servers."""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import hypothesis
import pytest

from tests.support import SECONDS
from tests.support.app_process import AppProcess, clean
from tests.support.fake_stack import FakeStack

# A shell makes its background jobs ignore SIGINT, and the processes that the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.load_profile("ci")  # no deadlines on slow machines, and the same inputs in every run
# On a busy machine an answer may take longer than the 5 s that httpx, and with it gradio_client, waits by default.
for phase in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, phase, SECONDS)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-matrix", action="store_true", help="rewrite the server matrix in the README")


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "start_app" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
        # Sockets are disabled by default (--disable-socket). Tests that need them reach this machine only.
        if any(item.get_closest_marker(name) for name in ("loopback", "slow", "browser", "real_stack", "contract")):
            item.add_marker(pytest.mark.allow_hosts(["127.0.0.1", "localhost", "::1"]))
        # With CI set, a missing browser fails the tests.
        if item.get_closest_marker("browser") and CHROMIUM is None and not os.environ.get("CI"):
            item.add_marker(pytest.mark.skip(reason="no Chromium found (Debian: apt install chromium)"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - clean(os.environ).keys() - {"GRADIO_TEMP_DIR"}:  # set by the app itself
        monkeypatch.delenv(name)
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")


@pytest.fixture
def stack() -> Iterator[FakeStack]:
    """A scripted Llama Stack server."""
    with FakeStack() as server:
        yield server


@pytest.fixture
def start_app(tmp_path: Path) -> Iterator[Callable[..., AppProcess]]:
    """Start `app.py` as a separate process: `start_app("--base-url", url)`. It ends after the test."""
    with contextlib.ExitStack() as cleanup:

        def start(*arguments: str, **variables: str) -> AppProcess:
            return cleanup.enter_context(AppProcess(arguments, variables, cwd=tmp_path))

        yield start
