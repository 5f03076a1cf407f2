"""Turns that wait: for a worker that has their hooks, or for any worker at all."""

import msgspec
import pytest

from tests.support.product import Scripted, text
from tests.support.turns import KEY, OTHER_WORKER, lose_lease, request, submit_and_claim
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.replies import CancelVerdict
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.outcome import Again, Done, unserved_ms

RUN_ID = KEY.run_id


async def test_a_turn_of_a_project_that_this_worker_does_not_serve_waits_for_one_that_does(store, runner_of, caplog):
    await store.submit(KEY, request(project="tax"))
    old = runner_of({"legal": Scripted()})
    first, second = await old.run(RUN_ID), await old.run(RUN_ID)
    assert (first, second) == (Again(100), Again(100))
    record = await store.record(KEY)
    assert (record.status, record.attempt) == (TurnState.QUEUED, 0)
    assert [line for line in caplog.messages if "'tax'" in line] == [
        "this worker has no hooks for turns of project 'tax'; they wait for a worker that has, one for 0 s so far"
    ]
    assert isinstance(await runner_of({"tax": Scripted(text("x"))}, OTHER_WORKER).run(RUN_ID), Done)
    assert (await store.record(KEY)).status is TurnState.COMPLETED


async def test_a_turn_that_nobody_serves_can_be_cancelled(store, runner_of):
    await store.submit(KEY, request(project="tax"))
    await runner_of({"legal": Scripted()}).run(RUN_ID)
    assert (await store.cancel(KEY)).verdict is CancelVerdict.CANCELLED


async def test_a_turn_without_a_project_waits_for_a_worker_that_serves_all(store, runner_of):
    await store.submit(KEY, request())
    assert isinstance(await runner_of({"legal": Scripted()}).run(RUN_ID), Again)
    assert isinstance(await runner_of({"legal": Scripted(), None: Scripted()}, OTHER_WORKER).run(RUN_ID), Done)


@pytest.mark.parametrize(("waited_ms", "delay_ms"), [(0, 100), (8_000, 1_000), (1_000_000, 5_000)])
def test_the_longer_a_turn_was_not_served_the_rarer_it_is_looked_at(waited_ms, delay_ms):
    assert unserved_ms(waited_ms) == delay_ms


async def test_the_time_after_a_dead_workers_lease_does_not_count_towards_the_limit(redis, settings, store, runner_of):
    """Nobody ran the turn then. Its first attempt ran until its lease ended, an hour ago."""
    claimed = await submit_and_claim(store, worker=OTHER_WORKER)
    await lose_lease(store)
    an_hour_ago_ms = claimed.at_ms - 3_600_000
    times = {"attempt_at": an_hour_ago_ms, "started_at": an_hour_ago_ms, "lease_end": an_hour_ago_ms + 1_000}
    await redis.hset(KEY.record, mapping=times)
    limited = TurnStore(redis, msgspec.structs.replace(settings, turn_timeout_s=60))
    await runner_of(Scripted(text("x")), store=limited).run(RUN_ID)
    assert (await store.record(KEY)).status is TurnState.COMPLETED
    crashed, _ = await store.ledger(KEY)
    assert (crashed.outcome, crashed.wall_ms) == ("crashed", 1_000)
