"""A page for each test module that asks for one, with a scripted server behind it."""

from collections.abc import Iterator

import pytest

from tests.support.fake_stack import FakeStack
from tests.support.page import served


@pytest.fixture(scope="module")
def module_stack() -> Iterator[FakeStack]:
    with FakeStack() as stack:
        yield stack


@pytest.fixture
def page_stack(module_stack: FakeStack) -> FakeStack:
    """The server behind the page, without the requests and replies of other tests."""
    module_stack.reset()
    return module_stack


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest, module_stack: FakeStack) -> Iterator[str]:
    """The address, without a slash at the end, of a page with the settings `PAGE` of the module."""
    with served(base_url=module_stack.url, **getattr(request.module, "PAGE", {})) as url:
        yield url.rstrip("/")
