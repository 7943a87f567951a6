"""A page for each test module, with a scripted server behind it, and clients of the page."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from gradio_client import Client

from tests.support.fake_stack import FakeStack
from tests.support.page import served


@pytest.fixture(scope="module")
def module_stack() -> Iterator[FakeStack]:
    with FakeStack() as stack:
        yield stack


@pytest.fixture
def stack(module_stack: FakeStack) -> FakeStack:
    module_stack.reset()
    return module_stack


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest, module_stack: FakeStack) -> Iterator[str]:
    """The address of a page with the settings `PAGE` of the module."""
    with served(base_url=module_stack.url, **getattr(request.module, "PAGE", {})) as url:
        yield url


@pytest.fixture
def client(url: str, stack: FakeStack) -> Client:
    return Client(url, verbose=False)


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Serves another page with these settings, and connects a client to it."""
    with ExitStack() as cleanup:

        def serve(**values: Any) -> Client:
            page = served(**getattr(request.module, "PAGE", {}) | values)
            return Client(cleanup.enter_context(page), verbose=False)

        yield serve
