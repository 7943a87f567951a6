"""The limits of `make page-report`: room for the conversation, layout shift on load, and WCAG 2.2 AA."""

import pytest
from playwright.sync_api import Browser, ViewportSize

from tests.support.fake_stack import FakeStack
from tests.support.page_measures import (
    MAX_SHIFT,
    SCHEMES,
    SCREENS,
    WIDTHS,
    Screen,
    audit,
    measure_room,
    measure_shifts,
)
from tests.support.page_states import STATES, Scheme, State

pytestmark = pytest.mark.browser
at_both_widths = pytest.mark.parametrize("size", WIDTHS, ids=lambda size: str(size["width"]))


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.name)
def test_most_of_the_screen_is_the_conversations(browser: Browser, url: str, stack: FakeStack, screen: Screen) -> None:
    assert measure_room(browser, url, stack, screen).misses(screen) == []


@at_both_widths
def test_the_page_does_not_move_while_it_loads(
    browser: Browser, url: str, stack: FakeStack, size: ViewportSize
) -> None:
    shifts = measure_shifts(browser, url, stack, size)
    assert {page: shift for page, shift in shifts.items() if shift.value >= MAX_SHIFT} == {}


@at_both_widths
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_no_rule_of_accessibility_is_broken(
    browser: Browser, url: str, stack: FakeStack, state: State, scheme: Scheme, size: ViewportSize
) -> None:
    assert audit(browser, url, stack, state, size, scheme).violations == []
