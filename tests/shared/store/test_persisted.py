"""persisted: the product stored an answer that was pending, or tried to; the turn is kept meanwhile."""

import pytest

from tests.support.turns import KEY, SESSION, request, snapshot, submit_and_claim
from turnwire.shared.events import RUN_FAILED, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.replies import PersistTry

FIELDS = {"persist": "pending", "final_text": "half", "error_code": "x", "error_message": "", "retryable": 0}


@pytest.fixture
async def pending(store):
    """A turn that failed with a text that the product could not store."""
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.FAILED, 1, [encode_event(RUN_FAILED, {})], FIELDS)


async def test_tries_are_counted_until_it_is_stored(store, pending):
    for tries in (1, 2):
        assert await store.try_to_persist(KEY, 0, 0) == PersistTry(tries)
    assert await store.persist_tries([KEY]) == [2]
    assert await store.persisted(KEY, "Half")
    record = await store.record(KEY)
    assert (record.persist, record.final_text) == ("done", "Half")
    assert await store.try_to_persist(KEY, 0, 0) is None
    assert not await store.persisted(KEY, "Other")


async def test_the_pauses_between_tries_are_doubled_up_to_the_longest(store, redis, pending):
    pauses = []
    for _ in range(4):
        assert (await store.try_to_persist(KEY, 1000, 5000)).wait_ms == 0
        early = await store.try_to_persist(KEY, 1000, 5000)  # a repeat, or the next worker
        pauses.append(round(early.wait_ms, -3))
        await store.persist_failed(KEY)
        await redis.hdel(KEY.record, "persist_at")
    assert pauses == [2000, 4000, 5000, 5000]
    assert await store.persist_tries([KEY]) == [4]


async def test_the_turn_and_its_session_are_kept_as_long_as_it_is_tried(store, redis, pending):
    """The session's own keys went first: the next index was 0 again, where the turn still stood."""
    names = [KEY.record, KEY.events, SESSION.record, SESSION.turns]
    for name in names:
        await redis.pexpire(name, 1000)
    await store.try_to_persist(KEY, 0, 0)
    assert [await redis.pttl(name) > 1000 for name in names] == [True] * 4


async def test_a_session_with_an_open_turn_stays_without_an_end(store, redis, pending):
    await store.submit(SESSION.turn(1), request("next"))
    await store.persisted(KEY, "Half")
    assert await redis.pttl(SESSION.record) == -1


async def test_a_turn_that_was_asked_again_meanwhile_is_left_alone(store, redis, pending):
    """Its keys had got a TTL while it was open."""
    await store.submit(KEY, request())
    before = await snapshot(redis)
    assert not await store.persisted(KEY, "Half")
    assert await store.try_to_persist(KEY, 0, 0) is None
    assert await snapshot(redis) == before
