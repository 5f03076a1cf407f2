"""A replica that lacks a claim takes over: the number of the lost attempt does not come again."""

import asyncio

import pytest

from stack.redis_server import RedisServer
from tests.support.turns import (
    KEY,
    OTHER_WORKER,
    WORKER,
    append,
    claim,
    delta,
    log_of,
    request,
    seqs_of,
    submit_and_claim,
)
from tests.support.waiting import let_pass, wait_until
from turnwire.api.following.resume import at_end
from turnwire.shared.errors import AttemptFenced, BadRequest, CursorGone
from turnwire.shared.events import RUN_COMPLETED, Cursor, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Held
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.turns import TurnStore


@pytest.fixture
def store(pair, pair_client):
    return TurnStore(pair_client, Settings(redis_url=pair.url, lease_ms=3000))


async def lose_from_here(pair):
    await pair.synced()
    pair.link.set("hold")


async def fail_over(pair):
    pair.first.kill()
    await pair.fail_over()


def is_far_ahead(attempt: int) -> bool:
    """Whether it is the first attempt after a failover: 1,000 numbers are skipped, and 1,000 for each ms so far."""
    return attempt > 1000 and attempt % 1000 == 1


async def test_a_lost_first_claim_is_not_mixed_with_the_next_one(store, pair):
    await store.submit(KEY, request())
    await lose_from_here(pair)
    lost = await claim(store)
    await append(store, lost, 1, delta("lost"))
    await fail_over(pair)
    with pytest.raises(AttemptFenced):
        await append(store, lost, 2, delta("lost"))
    with pytest.raises(CursorGone):  # nobody has claimed it yet
        await at_end(store, KEY, Cursor(1, 1))
    again = await claim(store, worker=OTHER_WORKER)
    assert is_far_ahead(again.attempt)
    await append(store, again, 1, delta("new"))
    with pytest.raises(CursorGone):
        await at_end(store, KEY, Cursor(1, 1))
    assert await at_end(store, KEY, Cursor(again.attempt, 0)) is False
    assert [entry_id for entry_id, _, _ in await log_of(store)] == [f"{again.attempt}-{seq}" for seq in (0, 1)]


async def test_a_lost_takeover_is_not_mixed_with_the_next_one(store, pair):
    first = await submit_and_claim(store)
    await append(store, first, 1, delta("first"))
    await lose_from_here(pair)
    await store.redis.delete(KEY.lease)
    lost = await claim(store, worker=OTHER_WORKER)
    assert lost.attempt == 2
    await append(store, lost, 2, delta("lost"))
    await fail_over(pair)
    await store.redis.delete(KEY.lease)
    again = await claim(store, worker=OTHER_WORKER)
    assert is_far_ahead(again.attempt - 1)
    assert [row for row in await store.ledger(KEY) if row.attempt != 1] == []
    log = await log_of(store)
    assert [entry_id for entry_id, _, _ in log] == ["1-0", f"{again.attempt}-1"]
    assert log[1][2] == {"attempt": again.attempt, "after": "1-0", "reason": "lease_expired"}
    assert await at_end(store, KEY, Cursor(2, 2)) is False  # the reader is told to drop what it has after 1-0


async def test_an_attempt_whose_end_was_lost_is_not_granted_to_its_worker_again(store, pair):
    """Regression: the worker ran it anew under the same number, behind the events of the first time."""
    ran = await submit_and_claim(store)
    await append(store, ran, 1, delta("first"))
    await lose_from_here(pair)
    await store.settle(ran, TurnState.COMPLETED, 2, [encode_event(RUN_COMPLETED, {})], {})
    await fail_over(pair)
    held = await store.claim(KEY, WORKER, company=1)
    assert isinstance(held, Held)
    await store.redis.delete(KEY.lease)
    again = await claim(store)
    assert is_far_ahead(again.attempt - 1)
    assert [entry_id for entry_id, _, _ in await log_of(store)] == ["1-0", f"{again.attempt}-1"]


async def test_later_attempts_are_numbered_without_another_gap(store, pair):
    await store.handover(await submit_and_claim(store))
    await pair.synced()
    await fail_over(pair)
    claimed = await claim(store)
    assert is_far_ahead(claimed.attempt - 1)
    await store.handover(claimed)
    assert (await claim(store)).attempt == claimed.attempt + 1


async def test_a_cancel_of_a_turn_whose_claim_was_lost_takes_a_new_number(store, pair):
    await store.submit(KEY, request())
    await lose_from_here(pair)
    await claim(store)
    await fail_over(pair)
    await store.cancel(KEY)
    [attempt] = {Cursor.parse(entry_id).attempt for entry_id, _, _ in await log_of(store)}
    assert is_far_ahead(attempt)


async def test_two_primaries_that_claim_within_the_same_second_give_different_numbers(store, pair):
    await store.submit(KEY, request())
    await pair.synced()
    await fail_over(pair)
    record, created_at = await store.redis.dump(KEY.record), int(await store.redis.hget(KEY.record, "created_at"))
    first = await claim(store)
    await store.redis.delete(KEY.lease, KEY.events)
    await store.redis.restore(KEY.record, 0, record, replace=True)  # another new primary, which lacks the claim
    await wait_until(lambda: later(store, created_at, first), "another ms")
    assert (await claim(store)).attempt > first.attempt


async def later(store, created_at, claimed):
    seconds, microseconds = await store.redis.time()
    return seconds * 1000 + microseconds // 1000 - created_at > claimed.attempt // 1000 - 1


async def test_without_a_failover_a_cursor_that_never_was_is_the_clients_fault(store, pair):
    await submit_and_claim(store)
    with pytest.raises(BadRequest):
        await at_end(store, KEY, Cursor(2, 0))


async def test_cursors_stay_in_order_over_restarts(tmp_path):
    with RedisServer(tmp_path, aof=True) as server:
        client = connect(server.url, connections=4)
        store = TurnStore(client, Settings(redis_url=server.url, lease_ms=3000))
        await store.submit(KEY, request())
        for number in range(4):
            claimed = await claim(store)
            assert claimed.attempt > 1000 * number
            await append(store, claimed, claimed.next_seq, delta("new"))
            await store.handover(claimed)
            await asyncio.to_thread(server.restart)
        log = await log_of(store)
        ids = [Cursor.parse(entry_id) for entry_id, _, _ in log]
        assert ids == sorted(ids)
        assert seqs_of(log) == list(range(len(log)))
        for cursor in ids[:-1]:
            assert await at_end(store, KEY, cursor) is False
        await client.aclose(close_connection_pool=True)


async def test_two_lost_claims_after_the_same_attempt_have_two_numbers(store, pair):
    """Two failovers follow each other, and none of the claims between them reaches the next primary."""
    await store.submit(KEY, request())
    await pair.synced()
    turn = await pair.order(pair.first, "DUMP", KEY.record)
    numbers = []
    for lineage in "ab":
        for name in (KEY.record, KEY.events, KEY.lease):
            await pair.order(pair.first, "DEL", name)
        await pair.order(pair.first, "RESTORE", KEY.record, 0, turn)
        await pair.order(pair.first, "HSET", KEY.record, "lineage", lineage)  # unlike that of the server
        numbers.append((await claim(store)).attempt)
        await let_pass(1.1)
    assert numbers[1] >= numbers[0] + 1000
