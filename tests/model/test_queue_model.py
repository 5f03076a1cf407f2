"""The queue in Redis and the one in memory do the same, whatever happens to them in whatever order."""

from typing import Any, cast

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.model.queue_machine import QueueMachine
from tests.model.stories import LIMIT_S, stories


@pytest.mark.timeout(LIMIT_S)
def test_the_queue_in_redis_and_in_memory_do_the_same(world):
    run_state_machine_as_test(cast("Any", lambda: QueueMachine(world)), settings=stories(60))
    world.redis.flushall()
