"""Fixtures of the browser tests: Chromium, the app with a scripted server, and the page of a new visitor."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.app_process import AppProcess
from tests.support.chromium import Chat, launch, open_chat
from tests.support.fake_stack import FakeStack


@pytest.fixture(scope="module")  # not longer: `launch` says why
def browser() -> Iterator[Browser]:
    with launch() as browser:
        yield browser


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FakeStack]]:
    """The URL of an app, and its server."""
    with FakeStack() as stack, AppProcess(("--base-url", stack.url), {}, tmp_path_factory.mktemp("app")) as app:
        yield app.url, stack


@pytest.fixture
def url(served: tuple[str, FakeStack]) -> str:
    return served[0]


@pytest.fixture
def stack(served: tuple[str, FakeStack]) -> FakeStack:
    served[1].reset()
    return served[1]


@pytest.fixture
def chat(browser: Browser, url: str, stack: FakeStack) -> Iterator[Chat]:
    with open_chat(browser, url) as chat:
        yield chat
