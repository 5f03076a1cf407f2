"""The Redis that a model is compared with."""

import asyncio
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.model.comparison import World
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.turns import TurnStore


@pytest.fixture
def world(redis_url: str) -> Iterator[World]:
    """A long lease: in these tests it ends only when a rule says so."""
    configured = Settings(
        redis_url=redis_url, lease_ms=600_000, max_attempts=3, max_turns_per_session=4, max_queued=2, max_signals=1
    )
    with asyncio.Runner() as runner, Redis.from_url(redis_url) as looking:
        looking.flushall()
        client = connect(redis_url, connections=2)
        yield World(TurnStore(client, configured), looking, runner.get_loop())
        runner.run(client.aclose(close_connection_pool=True))
