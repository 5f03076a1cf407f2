"""A turn that this version cannot read is left for one that can: no attempt is spent, and it does not fail."""

import pytest

from tests.support.product import Scripted, text
from tests.support.turns import KEY, WORKER, claim, log_of, lose_lease, request, step, types_of
from turnwire.shared.errors import RecordUnreadable
from turnwire.worker.attempt.outcome import UNREADABLE_MS, Done, Parked

UNREADABLE = [
    {"status": "paused"},
    {"attempt": "many"},
    {"updated_at": "now"},
    {"created_at": ""},
    {"metadata": "{"},
    {"message": b"\xff"},
    {"model_calls": "few"},
]


@pytest.mark.parametrize("fields", UNREADABLE, ids=lambda fields: next(iter(fields)))
async def test_it_is_left_and_can_be_read_later(store, redis, runner_of, settings, fields):
    product = Scripted(text("a"))
    await store.submit(KEY, request())
    good = {name: await redis.hget(KEY.record, name) for name in fields}
    await redis.hset(KEY.record, mapping=fields)
    for _ in range(settings.max_attempts + 1):
        assert await runner_of(product).run(KEY.run_id) == Parked(UNREADABLE_MS)
    assert not await redis.exists(KEY.lease)
    assert not product.turns
    await redis.hdel(KEY.record, *fields)  # a newer version takes the turn over: its fields mean something to it
    for name, value in good.items():
        if value is not None:
            await redis.hset(KEY.record, name, value)
    assert isinstance(await runner_of(product).run(KEY.run_id), Done)
    assert (await store.existing(KEY)).status == "completed"
    assert "session.run.failed" not in types_of(await log_of(store))


@pytest.mark.parametrize("place", ["step", "ledger", "history"])
async def test_what_belongs_to_it_may_be_unreadable_too(store, redis, runner_of, place):
    await store.submit(KEY, request())
    claimed = await claim(store)
    await store.checkpoint(claimed, step(0, ""))
    await store.handover(claimed)
    if place == "ledger":
        await redis.hset(KEY.ledger, "1", "{")
    else:
        await redis.hset(KEY.steps, "0" if place == "step" else "history", "{")
    end = await runner_of(Scripted(text("a"))).run(KEY.run_id)
    assert isinstance(end, Parked)
    assert end.look_ms == UNREADABLE_MS
    assert (await store.existing(KEY)).status == "queued"
    assert not await redis.exists(KEY.lease)


async def test_an_attempt_that_could_not_be_read_is_no_crash(store, redis):
    await store.submit(KEY, request())
    await redis.hset(KEY.record, "metadata", "{")
    with pytest.raises(RecordUnreadable, match="chat:demo:0"):
        await store.claim(KEY, WORKER)
    await redis.hdel(KEY.record, "metadata")
    await claim(store)
    await lose_lease(store)
    assert await redis.hget(KEY.record, "crashes") == b"0"
