"""The index of suspended turns: every script that suspends or ends a suspension writes it, and strays are repaired.

The model compares the index with the turns after random stories; here are the cases that it does not make up.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.turns import KEY, SESSION, WORKER, calls_of, claim, snapshot, submit_and_claim
from turnwire.shared import keys
from turnwire.shared.events import encode_event
from turnwire.shared.keys import SessionKey, TurnKey
from turnwire.shared.lanes import Lane
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.suspended import SuspendedEntry, SuspendedTurns, ask_suspended, read_suspended
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.pool.rebuild import Rebuild

EVENT = encode_event("session.run.suspended", {"awaiting": "go", "timeoutMs": None})


async def suspend(store: TurnStore, key: TurnKey = KEY, timeout_ms: int | None = None, **fields: Any) -> None:
    claimed = await submit_and_claim(store, key, **fields)
    await store.suspend(claimed, "go", timeout_ms, claimed.next_seq, EVENT)


async def numbers(store: TurnStore) -> tuple[int, list[tuple[str, str, int]]]:
    pipe = store.redis.pipeline(transaction=False)
    ask_suspended(pipe)
    found = read_suspended(*await pipe.execute())
    return found.turns, [(line.pool, line.tenant, line.turns) for line in found.lines]


@pytest.fixture
def index(store: TurnStore) -> SuspendedTurns:
    return SuspendedTurns(store.redis, store.settings)


async def cancel_that_came_before(store: TurnStore) -> None:
    """The worker was told, but it suspended the turn first; the next claim ends it."""
    await store.redis.hset(KEY.record, "cancel_requested", "")
    await store.claim(KEY, WORKER)


ENDS: dict[str, Callable[[TurnStore], Awaitable[Any]]] = {
    "signal": lambda store: store.signal(KEY, "go", b"1"),
    "cancel": lambda store: store.cancel(KEY),
    "cancel before": cancel_that_came_before,
    "erase": lambda store: store.erase(SESSION),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_suspended_turn_is_counted_until_it_goes_on_or_ends(store: TurnStore, redis, end):
    await suspend(store)
    other = SessionKey("acme", "s").turn(3)
    await suspend(store, other, lane=Lane("gpu", "batch"))
    assert await numbers(store) == (2, [("gpu", "acme", 1), ("default", "default", 1)])
    await end(store)
    assert await numbers(store) == (1, [("gpu", "acme", 1)])
    await store.cancel(other)
    assert await redis.exists(keys.SUSPENDED, keys.SUSPENDED_LINES) == 0


async def test_a_signal_whose_time_is_up_ends_the_suspension(store: TurnStore, redis):
    await suspend(store, timeout_ms=60_000)
    assert await store.expire(KEY)
    assert (await numbers(store))[0] == 1
    await redis.hset(KEY.record, "deadline", 1)
    assert await store.expire(KEY) == 0
    assert await numbers(store) == (0, [])


async def test_another_signal_and_a_repeated_one_change_nothing(store: TurnStore, twice):
    await suspend(store)
    await store.signal(KEY, "another", b"1")
    assert (await numbers(store))[0] == 1
    await twice(lambda: store.signal(KEY, "go", b"1"))
    assert await numbers(store) == (0, [])


async def test_the_lines_with_the_most_turns_come_first_and_the_newest_turn(store: TurnStore, index: SuspendedTurns):
    turns = [SessionKey(tenant, f"s{number}").turn(0) for tenant in ("one", "two") for number in range(2)][1:]
    for key in turns:
        await suspend(store, key)
    assert await numbers(store) == (3, [("default", "two", 2), ("default", "one", 1)])
    newest = await index.newest(None, 10)
    assert [entry.run_id for entry in newest] == [key.run_id for key in reversed(turns)]
    assert await index.newest(newest[1].since_us, 1) == [newest[1]]


async def test_a_turn_that_never_suspends_costs_the_index_nothing(store: TurnStore, redis):
    await redis.config_resetstat()
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [], {})
    assert [await calls_of(redis, command) for command in ("zscore", "zadd", "zrem")] == [0, 2, 1]


async def test_a_full_server_does_not_stop_the_look_at_a_turn_that_is_listed(store: TurnStore, redis):
    await suspend(store)
    before = await redis.config_get("maxmemory")
    await redis.config_set("maxmemory", "1")
    try:
        assert await store.expire(KEY) is None
    finally:
        await redis.config_set("maxmemory", before["maxmemory"])


async def test_what_an_older_version_has_woken_or_deleted_leaves_the_index(store: TurnStore, index, redis):
    turns = [SESSION.turn(number) for number in range(4)]
    for key in turns:
        await suspend(store, key, on_busy="concurrent")
    await redis.hset(turns[0].record, "status", "queued")
    await redis.delete(*(name for name in turns[3].all_keys()[3:]))
    await redis.zadd(keys.SUSPENDED, {"no run id": 1})
    place: int | None = 0
    looks = 0
    while place is not None:
        place = await index.unlist_others(place, 2)
        looks += 1
    assert looks == 3
    await redis.zrem(keys.SUSPENDED, "no run id")
    assert {entry.run_id for entry in await index.newest(None, 9)} == {turns[1].run_id, turns[2].run_id}
    assert await numbers(store) == (2, [("default", "default", 2)])


async def test_what_an_older_version_has_suspended_is_added_by_the_next_look_and_by_a_rebuild(store, queue, redis):
    await suspend(store)
    await suspend(store, SESSION.turn(1), on_busy="concurrent")
    before = await snapshot(redis)
    index = keys.SUSPENDED.encode(), keys.SUSPENDED_LINES.encode()
    await redis.delete(*index)
    await store.expire(KEY)
    assert await numbers(store) == (1, [("default", "default", 1)])
    await Rebuild(store, queue).now()
    assert await numbers(store) == (2, [("default", "default", 2)])
    [entry, *_] = await SuspendedTurns(redis, store.settings).newest(None, 9)
    assert entry == SuspendedEntry(f"default {SESSION.turn(1).run_id}", entry.since_us)
    assert entry.since_us // 1000 == (await store.record(SESSION.turn(1))).updated_at
    await redis.delete(keys.OPEN_TURNS)
    assert (await snapshot(redis)).keys() == before.keys()


async def test_a_turn_that_is_claimed_again_after_its_signal_is_counted_once(store: TurnStore):
    await suspend(store)
    await store.signal(KEY, "go", b"1")
    claimed = await claim(store)
    await store.suspend(claimed, "then", None, claimed.next_seq, EVENT)
    assert (await numbers(store))[0] == 1
    await store.signal(KEY, "then", b"1")
    await claim(store)
    assert (await numbers(store))[0] == 0
