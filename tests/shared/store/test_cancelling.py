"""The list of cancels that have not taken effect yet outlives the process that watches them."""

import pytest

from tests.support.turns import KEY, SESSION
from turnwire.shared import keys
from turnwire.shared.store.cancelling import Cancelling


@pytest.fixture
def watched(redis, settings):
    return Cancelling(redis, settings)


async def test_what_somebody_watches_is_adopted_only_by_one_that_starts(watched):
    await watched.watch(KEY)
    assert await watched.adopt(starts=False) == []
    assert await watched.adopt(starts=True) == [KEY]


async def test_what_nobody_watches_any_more_is_adopted_once(watched, redis):
    await watched.watch(KEY)
    await watched.watch(SESSION.turn(1))
    await redis.zadd(keys.CANCELLING, {KEY.run_id: 1})
    assert await watched.adopt(starts=False) == [KEY]
    assert await watched.adopt(starts=False) == []


async def test_what_has_ended_is_forgotten(watched, redis, twice):
    await twice(lambda: watched.watch(KEY))
    assert await redis.pttl(keys.CANCELLING) > 0
    await twice(lambda: watched.forget(KEY))
    assert not await redis.exists(keys.CANCELLING)
