"""A record that this version cannot read: another version wrote it, or somebody changed it by hand."""

import logging

import pytest

from tests.support.turns import KEY, SESSION, WORKER, request, snapshot
from turnwire.shared import keys
from turnwire.shared.errors import RecordUnreadable
from turnwire.shared.keys import session_key
from turnwire.worker.pool.sweep import Sweep

SPOILT = [
    {"status": "paused"},
    {"attempt": "many"},
    {"created_at": ""},
    {"metadata": "{"},
    {"message": b"\xff"},
    {"error_code": "x"},
    {"model_calls": "few"},
]


@pytest.fixture(params=SPOILT, ids=lambda fields: next(iter(fields)))
async def spoilt(request, store, redis):
    await store.submit(KEY, _asked())
    await store.submit(SESSION.turn(1), _asked())
    await redis.hset(KEY.record, mapping=request.param)


def _asked():
    return request("hello")


@pytest.mark.usefixtures("spoilt")
async def test_whoever_asks_for_it_is_refused_by_name(store):
    with pytest.raises(RecordUnreadable, match="chat:demo:0"):
        await store.existing(KEY)


@pytest.mark.usefixtures("spoilt")
async def test_it_is_left_out_of_lists_and_of_the_history(store, redis, caplog):
    assert [record.turn_index for record in await store.records(SESSION)] == [1]
    assert [record.turn_index for record in await store.history(SESSION.turn(2), 50, 1)] == [1]
    assert "chat:demo:0 cannot be read by this version; it is skipped" in caplog.text
    assert await redis.zrange(SESSION.turns, 0, -1) == [b"0", b"1"], "it is there"


@pytest.mark.usefixtures("spoilt")
async def test_the_sweep_leaves_it_and_goes_on_with_the_others(store, redis, queue, caplog):
    other = session_key("other").turn(0)
    await store.submit(other, _asked())
    await redis.zadd(keys.OPEN_TURNS, {KEY.run_id: 1, other.run_id: 2})
    before = await redis.dump(KEY.record)
    with caplog.at_level(logging.WARNING):
        assert await Sweep(store, queue, WORKER).once() == 2
    assert "the sweep leaves it" in caplog.text
    assert await redis.dump(KEY.record) == before
    assert await redis.zscore(keys.OPEN_TURNS, KEY.run_id) > 2
    assert await redis.exists(keys.job(other.run_id)) == 1
    assert await redis.exists(keys.job(KEY.run_id)) == 0


async def test_a_reader_of_a_turn_in_an_unknown_state_goes_on_reading(store, redis):
    await store.submit(KEY, request())
    await redis.hset(KEY.record, "status", "paused")
    assert await store.standing(KEY) == (None, False)


@pytest.mark.parametrize("name", ["steps", "ledger"])
async def test_a_step_or_a_row_that_cannot_be_read_has_the_same_error(store, redis, name):
    await store.submit(KEY, request())
    await redis.hset(getattr(KEY, name), "0", "{")
    before = await snapshot(redis)
    with pytest.raises(RecordUnreadable):
        await getattr(store, name)(KEY)
    assert await snapshot(redis) == before


async def test_sums_that_cannot_be_read_have_the_same_error(store, redis):
    await store.submit(KEY, request())
    await redis.hset(SESSION.record, "usage:rows", "many")
    with pytest.raises(RecordUnreadable):
        await store.usage(SESSION)
