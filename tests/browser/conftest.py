"""What the tests in a browser share: Chromium, the app on a scripted server, and the page of a new visitor."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.app_process import AppProcess
from tests.support.chromium import Chat, launched, opened
from tests.support.fake_stack import FakeStack


@pytest.fixture(scope="module")  # no longer: asyncio tests of other modules cannot run beside Playwright's own loop
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AppProcess, FakeStack]]:
    with FakeStack() as stack, AppProcess(("--base-url", stack.url), {}, tmp_path_factory.mktemp("app")) as app:
        yield app, stack


@pytest.fixture
def stack(served: tuple[AppProcess, FakeStack]) -> FakeStack:
    _, stack = served
    stack.forget()
    return stack


@pytest.fixture
def chat(browser: Browser, served: tuple[AppProcess, FakeStack], stack: FakeStack) -> Iterator[Chat]:
    with opened(browser, served[0].url) as chat:
        yield chat
