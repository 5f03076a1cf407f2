"""Fixtures for pytest. A product's `conftest.py` asks for them: `pytest_plugins = ["turnwire.testing.pytest"]`.

They are no entry point, so nobody gets them by surprise. Nothing else in `turnwire.testing` imports pytest.
"""

import pytest

from turnwire.testing.calls import Calls
from turnwire.testing.clock import ManualClock


@pytest.fixture
def turn_clock() -> ManualClock:
    """A clock for `run_turn(…, clock=turn_clock)`, which the test and the product's code may move."""
    return ManualClock()


@pytest.fixture
def turn_calls() -> Calls:
    """Counts the calls of effects that Turnwire cannot see."""
    return Calls()
