"""With TURNWIRE_REDIS_REPLICAS, no worker gets a turn before the replicas have it. A failover could take it back, and
when the client asks it again, its first attempt would run a second time.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.failover import Pair
from tests.support.turns import KEY, request
from turnwire.api.endpoints.intake import Intake
from turnwire.shared import keys
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.store.user_sessions import UserSessions


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with Pair(tmp_path) as pair:
        yield pair


async def test_a_turn_is_enqueued_only_when_the_replica_has_it(pair: Pair):
    settings = Settings(redis_url=pair.url, redis_replicas=1)
    redis = connect(pair.url, connections=4)
    store = TurnStore(redis, settings)
    intake = Intake(store, TurnQueue(redis, settings), UserSessions(redis, settings))
    await pair.synced()
    pair.link.set("hold")
    with pytest.raises(StoreUnavailable):
        await intake.submit(KEY, request())
    assert await store.record(KEY) is not None
    assert await redis.zcard(keys.QUEUE) == 0
    assert await redis.zscore(keys.OPEN_TURNS, KEY.run_id), "the sweep finds it if the client does not come back"
    pair.link.set("pass")
    await intake.enqueue(await intake.submit(KEY, request()))
    assert await redis.zrange(keys.QUEUE, 0, -1) == [KEY.run_id.encode()]
    await redis.aclose(close_connection_pool=True)
