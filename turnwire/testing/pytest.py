"""Fixtures for pytest. A product's `conftest.py` loads them: `pytest_plugins = ["turnwire.testing.pytest"]`.

They are not an entry point, so pytest never loads them by itself. Nothing else in `turnwire.testing` imports pytest.
"""

import pytest

from turnwire.testing.calls import Calls
from turnwire.testing.clock import ManualClock


@pytest.fixture
def turn_clock() -> ManualClock:
    """Return a clock for `run_turn(…, clock=turn_clock)`. The test and the product's code may move it."""
    return ManualClock()


@pytest.fixture
def turn_calls() -> Calls:
    """Return a counter for calls of effects that Turnwire cannot see."""
    return Calls()
