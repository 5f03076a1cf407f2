"""When the retention of its turns is over, a session keeps its next index and forgets the rest."""

import asyncio

import msgspec
import pytest

from tests.support.turns import KEY, SESSION, request, snapshot, submit_and_claim, submit_next
from turnwire.shared.errors import TurnLimit
from turnwire.shared.events import RUN_COMPLETED, RUN_FAILED, encode_event
from turnwire.shared.keys import MAX_TURN_INDEX
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.turns import TurnStore

ENDING = [encode_event(RUN_FAILED, {"code": "queue_full"})]


async def complete(store, index):
    key = SESSION.turn(index)
    claimed = await submit_and_claim(store, key)
    completed = [encode_event(RUN_COMPLETED, {})]
    await store.settle(claimed, TurnState.COMPLETED, 1, completed, {"final_text": f"a{index}"})


async def expire_turn(redis, index):
    """Do what Redis does when the TTL of a turn's keys is over."""
    await redis.delete(*SESSION.turn(index).all_keys()[3:])


async def expire_session(redis):
    await redis.delete(SESSION.record, SESSION.turns, SESSION.open)


async def test_a_session_that_comes_back_after_its_retention_goes_on_at_its_next_index(store, redis):
    for index in range(3):
        await complete(store, index)
        await expire_turn(redis, index)
    await expire_session(redis)
    assert await store.next_index(SESSION) == 3
    assert (await submit_next(store, SESSION, request())).key == SESSION.turn(3)
    assert await store.next_index(SESSION) == 4


async def test_the_next_index_is_kept_for_longer_than_the_turns(store, redis):
    await complete(store, 0)
    kept_ms, turn_ms = await redis.pttl(SESSION.numbering), await redis.pttl(KEY.record)
    assert turn_ms <= store.settings.retention_ms < kept_ms <= store.settings.session_retention_ms


async def test_a_named_index_of_a_session_that_comes_back_does_not_move_the_next_one_back(store, redis):
    await complete(store, 4)
    await expire_turn(redis, 4)
    await expire_session(redis)
    await store.submit(KEY, request())
    assert await store.next_index(SESSION) == 5


async def test_an_idempotency_key_whose_turn_has_expired_gets_a_new_index(store, redis):
    await submit_next(store, SESSION, request("hello"), "key-1")
    await submit_next(store, SESSION, request("more"))
    await expire_turn(redis, 0)
    again = await submit_next(store, SESSION, request("hello"), "key-1")
    assert (again.verdict, again.key) == ("created", SESSION.turn(2))
    assert (await submit_next(store, SESSION, request("hello"), "key-1")).verdict == "attached"


async def test_two_requests_with_the_key_of_an_expired_turn_are_one_turn(store, redis):
    await submit_next(store, SESSION, request("hello"), "key-1")
    await expire_turn(redis, 0)
    asked = await asyncio.gather(*(submit_next(store, SESSION, request("hello"), "key-1") for _ in range(5)))
    assert {submitted.key for submitted in asked} == {SESSION.turn(1)}
    assert sorted(submitted.verdict for submitted in asked) == ["attached"] * 4 + ["created"]


async def test_a_page_of_turns_holds_those_that_are_there(store, redis):
    for index in range(150):
        await store.submit(SESSION.turn(index), request())
        if index not in {7, 120, 140}:
            await expire_turn(redis, index)
    assert [record.turn_index for record in await store.records(SESSION, limit=2)] == [7, 120]
    assert [record.turn_index for record in await store.records(SESSION, first=8, limit=5)] == [120, 140]
    assert await redis.zrange(SESSION.turns, 0, -1) == [b"7", b"120", b"140"], "the others are forgotten in passing"


async def test_reading_the_history_forgets_expired_turns_and_their_keys(store, redis):
    for index in range(10):
        await submit_next(store, SESSION, request(), f"key-{index}")
        await complete(store, index)
    for index in (0, 1, 2, 6):
        await expire_turn(redis, index)
    assert [record.turn_index for record in await store.history(SESSION.turn(9), 3)] == [7, 8]
    assert await redis.zrange(SESSION.turns, 0, -1) == [b"3", b"4", b"5", b"7", b"8", b"9"]
    kept = sorted(name for name in await redis.hkeys(SESSION.record) if name.startswith(b"key"))
    assert len(kept) == 12
    assert b"key:key-0" not in kept


async def test_the_limit_of_turns_counts_those_that_are_there(settings, redis):
    store = TurnStore(redis, msgspec.structs.replace(settings, max_turns_per_session=3))
    for index in range(3):
        await store.submit(SESSION.turn(index), request())
    with pytest.raises(TurnLimit):
        await store.submit(SESSION.turn(3), request())
    await expire_turn(redis, 1)
    assert (await store.submit(SESSION.turn(3), request())).verdict == "created"
    with pytest.raises(TurnLimit):
        await store.submit(SESSION.turn(4), request())


async def test_a_turn_that_is_there_is_not_pruned(store, redis):
    await store.submit(KEY, request())
    before = await snapshot(redis)
    assert await store.prune(SESSION) is False
    assert await snapshot(redis) == before


async def test_a_withdrawn_turn_uses_up_no_index(store, redis):
    await store.withdraw(await submit_next(store, SESSION, request(), "key-1"), ENDING)
    assert await redis.keys("*") == [], "nothing is written for a refused request"
    assert (await submit_next(store, SESSION, request(), "key-1")).key == KEY


async def test_a_withdrawn_turn_of_a_session_with_turns_uses_up_no_index(store, redis):
    await complete(store, 4)
    before = await redis.hgetall(SESSION.record)
    await store.withdraw(await submit_next(store, SESSION, request(), "key-1"), ENDING)
    assert await redis.hgetall(SESSION.record) == before
    assert await redis.get(SESSION.numbering) == b"5"
    assert 0 < await redis.pttl(SESSION.numbering) <= store.settings.session_retention_ms


async def test_a_withdrawn_turn_does_not_take_back_a_later_index(store):
    first = await submit_next(store, SESSION, request("one"))
    second = await submit_next(store, SESSION, request("two"))
    await store.withdraw(first, ENDING)
    assert await store.next_index(SESSION) == 2
    await store.withdraw(second, ENDING)
    assert await store.next_index(SESSION) == 1, "the index of the first one stays free"


async def test_the_indexes_of_a_session_end_in_a_refusal(store, redis):
    await store.submit(SESSION.turn(MAX_TURN_INDEX), request())
    before = await snapshot(redis)
    with pytest.raises(TurnLimit, match="indexes"):
        await submit_next(store, SESSION, request())
    assert await snapshot(redis) == before


async def test_an_erased_session_begins_anew(store, redis):
    await complete(store, 4)
    await expire_turn(redis, 4)
    await expire_session(redis)
    assert await store.erase(SESSION) is True
    assert await redis.keys("*") == []
    assert await store.next_index(SESSION) == 0
