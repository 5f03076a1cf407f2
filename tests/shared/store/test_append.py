"""append: the id is the fence, and repeating is harmless."""

import msgspec
import pytest

from tests.support.turns import (
    KEY,
    SESSION,
    append,
    delta,
    log_of,
    lose_lease,
    seqs_of,
    snapshot,
    submit_and_claim,
    take_over,
)
from turnwire.shared.errors import AttemptFenced, StoreUnavailable
from turnwire.shared.events import RUN_COMPLETED, encode_event
from turnwire.shared.lifecycle import TurnState

A, B, C = delta("a"), delta("b"), delta("c")


def nobodys(claimed):
    """The same attempt, of a turn that does not exist."""
    return msgspec.structs.replace(claimed, key=SESSION.turn(9))


async def test_events_follow_the_claims_event_under_dense_ids(store):
    claimed = await submit_and_claim(store)
    await append(store, claimed, claimed.next_seq, A, B)
    await append(store, claimed, claimed.next_seq + 2, C)
    log = await log_of(store)
    assert [entry_id for entry_id, _, _ in log] == ["1-0", "1-1", "1-2", "1-3"]
    assert [data.get("delta") for _, _, data in log] == [None, "a", "b", "c"]


async def test_the_bytes_of_an_event_stay_as_they_are(store):
    claimed = await submit_and_claim(store)
    event = '{"type":"x","data":{"é":"\\u0000 \\n","n":1.50}}'.encode()
    await append(store, claimed, 1, event)
    assert (await store.read(KEY, None))[1].event == event


async def test_readers_are_sent_the_first_id_and_then_one_event_a_line(store, published):
    claimed = await submit_and_claim(store)
    next_message = await published(KEY.events)
    await append(store, claimed, 1, A, B)
    assert await next_message() == b"1-1\n" + A + b"\n" + B


async def test_repeating_an_append_changes_nothing(store, twice):
    claimed = await submit_and_claim(store)
    assert await twice(lambda: store.append_many([(claimed, 1, [A, B])])) == [None]
    assert seqs_of(await log_of(store)) == [0, 1, 2]


async def test_an_append_of_which_some_events_are_there_adds_the_others(store):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, A)
    await append(store, claimed, 1, A, B, C)
    assert [data.get("delta") for _, _, data in await log_of(store)] == [None, "a", "b", "c"]


@pytest.mark.parametrize(("seq", "event"), [(2, B), (1, A)], ids=["a new event", "a discarded event"])
async def test_an_older_attempt_is_fenced_and_writes_nothing(store, redis, seq, event):
    stale = await submit_and_claim(store)
    await append(store, stale, 1, A)
    await take_over(store)
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await append(store, stale, seq, event)
    assert await snapshot(redis) == before


async def test_a_lapsed_lease_that_nobody_took_does_not_stop_the_log(store):
    claimed = await submit_and_claim(store)
    await lose_lease(store)
    await append(store, claimed, 1, A)
    assert seqs_of(await log_of(store)) == [0, 1]


async def test_nothing_follows_the_terminal_event(store, redis):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [encode_event(RUN_COMPLETED, {})], {})
    before = await snapshot(redis)
    with pytest.raises(AttemptFenced):
        await append(store, claimed, 2, A)
    assert await snapshot(redis) == before


async def test_an_erased_log_is_not_created_again(store, redis):
    claimed = await submit_and_claim(store)
    await redis.delete(*KEY.all_keys(), SESSION.numbering)
    with pytest.raises(AttemptFenced):
        await append(store, claimed, 1, A)
    assert await redis.keys("*") == []


async def test_many_logs_are_written_in_one_round_trip_each_with_its_own_answer(store):
    stale = await submit_and_claim(store)
    await take_over(store)
    other = await submit_and_claim(store, SESSION.turn(1), on_busy="concurrent")
    calls = [(stale, 1, [A]), (other, 1, [B]), (nobodys(stale), 1, [C])]
    fenced, fine, gone = await store.append_many(calls)
    assert isinstance(fenced, AttemptFenced)
    assert fine is None
    assert isinstance(gone, AttemptFenced)
    assert seqs_of(await log_of(store, other.key)) == [0, 1]


async def test_many_calls_survive_a_server_that_forgot_the_script(store, redis):
    claimed = await submit_and_claim(store)
    await redis.script_flush()
    calls = [(claimed, 1, [A]), (claimed, 2, [B]), (nobodys(claimed), 1, [C])]
    first, second, gone = await store.append_many(calls)
    assert (first, second) == (None, None)
    assert isinstance(gone, AttemptFenced)
    assert seqs_of(await log_of(store)) == [0, 1, 2]


async def test_no_calls_are_no_round_trip(store):
    assert await store.append_many([]) == []


async def test_a_full_server_is_unavailable_not_a_failure_of_the_turn(store, redis):
    claimed = await submit_and_claim(store)
    await redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable):
            await append(store, claimed, 1, A)
    finally:
        await redis.config_set("maxmemory", "0")
    await append(store, claimed, 1, A)
    assert seqs_of(await log_of(store)) == [0, 1]
