"""Redis and the memory store of turnwire.testing, driven side by side through what can happen, in any order.

In CI the same few hundred stories every time. A longer hunt, with other stories on each run:

    MODEL_STORIES=20000 python3 dev.py test tests/model

What fails is shrunk to the shortest story and printed; that takes some minutes.
"""

import asyncio
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from tests.model.comparison import World
from tests.model.queue_machine import QueueMachine
from tests.model.session_machine import SessionMachine
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.turns import TurnStore

HUNT = int(os.environ.get("MODEL_STORIES", "0"))
STORIES = settings(
    max_examples=HUNT or 250,
    stateful_step_count=30,
    derandomize=not HUNT,
    database=None,
    deadline=None,
    print_blob=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def world(redis_url: str) -> Iterator[World]:
    """A long lease: in these tests it ends only when a rule says so."""
    configured = Settings(redis_url=redis_url, lease_ms=600_000, max_attempts=3, max_turns_per_session=4, max_queued=2)
    with asyncio.Runner() as runner, Redis.from_url(redis_url) as looking:
        looking.flushall()
        client = connect(redis_url, connections=2)
        yield World(TurnStore(client, configured), looking, runner.get_loop())
        runner.run(client.aclose(close_connection_pool=True))


@pytest.mark.timeout(0 if HUNT else 900)
def test_redis_and_the_memory_store_do_the_same(world):
    run_state_machine_as_test(lambda: SessionMachine(world), settings=STORIES)
    assert world.redis.keys("*") == [], "erased sessions leave nothing"


@pytest.mark.timeout(0 if HUNT else 900)
def test_the_queue_in_redis_and_in_memory_do_the_same(world):
    run_state_machine_as_test(lambda: QueueMachine(world), settings=settings(STORIES, max_examples=HUNT or 300))
    world.redis.flushall()
