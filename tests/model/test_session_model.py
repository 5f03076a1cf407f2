"""A session in Redis and one in memory do the same, whatever happens to them in whatever order."""

from typing import Any, cast

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.model.session_machine import SessionMachine
from tests.model.stories import LIMIT_S, stories


@pytest.mark.timeout(LIMIT_S)
def test_redis_and_the_memory_store_do_the_same(world):
    run_state_machine_as_test(cast("Any", lambda: SessionMachine(world)), settings=stories(60))
    assert world.redis.keys("*") == [], "erased sessions leave nothing"
