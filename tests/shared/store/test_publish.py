"""finish: a turn's ledger rows go to the stream with the end of its job, each once, whoever ends it."""

import msgspec
import pytest

from tests.support.turns import KEY, OTHER_WORKER, WORKER, snapshot
from turnwire.shared import keys
from turnwire.shared.ledger import LedgerRow, UsageSums, decode_row
from turnwire.shared.store.queue import TurnQueue

RUN_ID = KEY.run_id


def row(attempt: int, created_at: int = 1000, tokens_in: int | None = 5, cost_nanos: int | None = 900) -> bytes:
    return msgspec.json.encode(
        LedgerRow(
            run_id=RUN_ID, session_id="demo", tenant_id="default", turn_index=0, turn_created_at=created_at,
            attempt=attempt, outcome="completed", code=None, project=None, user=None, model=None, started_at=1,
            ended_at=3, wall_ms=2, model_calls=1, tokens_in=tokens_in, tokens_out=7, cost_nanos=cost_nanos,
            currency="USD", price_version="1", model_called="m", first_event_ms=None, first_token_ms=None,
            partial=False,
        )
    )  # fmt: skip


async def take(queue: TurnQueue, worker: str = WORKER):
    await queue.enqueue(RUN_ID)
    [taken], _ = await queue.take(worker, 1)
    return taken


async def published(redis) -> list[tuple[int, int]]:
    """(creation of the turn, attempt) of each row on the stream."""
    rows = [decode_row(fields[1]) for _, fields in await redis.xrange(keys.LEDGER)]
    return [(row.turn_created_at, row.attempt) for row in rows]


@pytest.mark.parametrize("outcome", ["end", "park", "again"])
async def test_every_end_of_a_job_publishes_each_row_once_in_order(redis, queue, twice, outcome):
    taken = await take(queue)
    rows = {2: row(2), 10: row(10), 1: row(1)}
    await twice(lambda: getattr(queue, outcome)(WORKER, taken, rows=rows))
    assert await published(redis) == [(1000, 1), (1000, 2), (1000, 10)]
    assert await queue.usage("default") == UsageSums(
        rows=3, model_calls=3, tokens_in=15, tokens_out=21, cost_nanos={"USD": 2700}
    )  # fmt: skip


async def test_a_row_is_on_the_stream_as_it_was_written(redis, queue):
    await queue.end(WORKER, await take(queue), {1: row(1)})
    [(_, fields)] = await redis.xrange(keys.LEDGER)
    assert fields == [b"row", row(1)]


async def test_a_later_end_publishes_only_what_is_new(redis, queue):
    await queue.park(WORKER, await take(queue), rows={1: row(1)})
    await queue.end(OTHER_WORKER, await take(queue, OTHER_WORKER), {1: row(1), 2: row(2)})
    assert await published(redis) == [(1000, 1), (1000, 2)]


async def test_who_lost_the_job_publishes_nothing(redis, queue):
    taken = await take(queue)
    await redis.set(keys.in_progress(RUN_ID), OTHER_WORKER, px=5000)
    before = await snapshot(redis)
    assert before.pop(keys.claims(WORKER).encode())
    await queue.end(WORKER, taken, {1: row(1)})
    assert await snapshot(redis) == before


async def test_a_turn_that_comes_again_after_an_erasure_has_rows_of_its_own(redis, queue):
    await queue.end(WORKER, await take(queue), {1: row(1), 2: row(2)})
    await queue.end(WORKER, await take(queue), {1: row(1, created_at=2000)})
    assert await published(redis) == [(1000, 1), (1000, 2), (2000, 1)]


async def test_what_is_published_is_known_for_as_long_as_the_rows_may_come_again(redis, queue, settings):
    mark = keys.billed(RUN_ID)
    await queue.park(WORKER, await take(queue), rows={1: row(1)})
    assert await redis.pttl(mark) == -1
    await queue.end(WORKER, await take(queue))
    assert settings.retention_ms - 5000 < await redis.pttl(mark) <= settings.retention_ms
    await queue.park(WORKER, await take(queue))  # asked again
    assert await redis.pttl(mark) == -1


async def test_a_turn_that_is_asked_again_late_has_its_rows_published_once(redis, queue):
    """The mark must not expire between the request and the end of the attempt that follows it."""
    await queue.end(WORKER, await take(queue), {1: row(1)})
    await redis.pexpire(keys.billed(RUN_ID), 60_000)
    taken = await take(queue)
    assert await redis.pttl(keys.billed(RUN_ID)) == -1
    await queue.end(WORKER, taken, {1: row(1), 2: row(2)})
    assert await published(redis) == [(1000, 1), (1000, 2)]


async def test_the_rows_of_a_turn_whose_answer_is_not_persisted_yet_stay_known(redis, queue, settings):
    """Each try to persist the answer keeps the turn and its rows, so their mark has to be kept, too."""
    mark, taken = keys.billed(RUN_ID), await take(queue)
    await queue.enqueue_persist(RUN_ID)
    await queue.end(WORKER, taken, {1: row(1)})
    assert await redis.pttl(mark) == -1
    [persisting], _ = await queue.take(WORKER, 1)
    await queue.again(WORKER, persisting)
    assert await redis.pttl(mark) == -1
    [persisting], _ = await queue.take(WORKER, 1)
    await queue.end(WORKER, persisting)
    assert settings.retention_ms - 5000 < await redis.pttl(mark) <= settings.retention_ms


@pytest.mark.parametrize("forgotten", [False, True])
async def test_an_answer_that_is_persisted_leaves_the_mark_of_a_turn_that_runs_again(redis, queue, forgotten):
    taken = await take(queue)
    await queue.enqueue_persist(RUN_ID)
    await queue.end(WORKER, taken, {1: row(1)})
    [persisting], _ = await queue.take(WORKER, 1)
    await queue.enqueue(RUN_ID)  # asked again meanwhile
    if forgotten:
        await redis.zadd(keys.OPEN_TURNS, {keys.persist_id(RUN_ID): 1})
        await redis.delete(keys.job(keys.persist_id(RUN_ID)))
        [due] = (await queue.due(WORKER)).jobs
        await queue.forget(*due)
    else:
        await queue.end(WORKER, persisting)
    assert await redis.pttl(keys.billed(RUN_ID)) == -1


async def test_a_late_repeat_of_an_earlier_end_does_not_keep_the_mark(redis, queue):
    taken = await take(queue)
    await queue.park(WORKER, taken, rows={1: row(1)})
    await queue.end(OTHER_WORKER, await take(queue, OTHER_WORKER), {1: row(1), 2: row(2)})
    await queue.park(WORKER, taken, rows={1: row(1)})
    assert await redis.pttl(keys.billed(RUN_ID)) > 0
    assert await published(redis) == [(1000, 1), (1000, 2)]


async def test_an_erased_turn_leaves_its_mark_for_a_while_only(redis, queue, settings):
    await queue.park(WORKER, await take(queue), rows={1: row(1)})
    await redis.zadd(keys.OPEN_TURNS, {RUN_ID: 1})
    [due] = (await queue.due(WORKER)).jobs
    await queue.forget(*due)
    assert 0 < await redis.pttl(keys.billed(RUN_ID)) <= settings.retention_ms


async def test_large_amounts_stay_exact_for_the_tenant(queue):
    await queue.end(WORKER, await take(queue), {1: row(1, cost_nanos=2**53 + 1)})
    assert (await queue.usage("default")).cost_nanos == {"USD": 2**53 + 1}


async def test_a_row_of_an_older_version_is_counted_without_the_fields_that_it_lacks(queue):
    older = row(1).replace(b'"cached_tokens":null,"reasoning_tokens":null,"finish_reason":null,', b"")
    assert b"finish_reason" not in older
    await queue.end(WORKER, await take(queue), {1: older})
    assert await queue.usage("default") == UsageSums(
        rows=1, model_calls=1, tokens_in=5, tokens_out=7, cost_nanos={"USD": 900}
    )  # fmt: skip


async def test_what_is_no_row_does_not_keep_the_job_from_ending(redis, queue):
    await queue.end(WORKER, await take(queue), {1: b"{}", 2: row(2)})
    assert await published(redis) == [(1000, 2)]
    assert await redis.zcard(keys.QUEUE) == 0


async def test_unknown_is_counted_as_unknown(queue):
    await queue.end(WORKER, await take(queue), {1: row(1, tokens_in=None, cost_nanos=None)})
    assert await queue.usage("default") == UsageSums(
        rows=1, model_calls=1, tokens_out=7, rows_tokens_unknown=1, rows_cost_unknown=1
    )  # fmt: skip


async def test_another_tenant_has_other_sums(redis, queue):
    key = keys.session_key("demo", "acme").turn(0)
    await queue.enqueue(key.run_id)
    [taken], _ = await queue.take(WORKER, 1)
    await queue.end(WORKER, taken, {1: row(1)})
    assert (await queue.usage("acme")).rows == 1
    assert (await queue.usage("default")).rows == 0


async def test_the_stream_is_capped(redis, settings):
    queue = TurnQueue(redis, msgspec.structs.replace(settings, ledger_rows=100))
    taken = await take(queue)
    for first in range(1, 2001, 400):
        await queue.again(WORKER, taken, rows={attempt: row(attempt) for attempt in range(first, first + 400)})
        [taken], _ = await queue.take(WORKER, 1)
    assert 100 <= await redis.xlen(keys.LEDGER) < 400  # whole nodes of the stream are dropped
    assert (await queue.usage("default")).rows == 2000
