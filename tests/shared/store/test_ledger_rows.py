"""Every script that ends an attempt writes its ledger row, once, and counts it into the session's sums, once."""

from typing import Any

import msgspec
import pytest

from tests.support.turns import (
    KEY,
    OTHER_WORKER,
    SESSION,
    append,
    claim,
    delta,
    lose_lease,
    request,
    step,
    submit_and_claim,
    take_over,
)
from turnwire.shared.events import RUN_COMPLETED, RUN_FAILED, encode_event
from turnwire.shared.ledger import LedgerRow, UsageSums, decode_row, encode_use
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import StepRecord, Suspended
from turnwire.shared.usage import Usage

COMPLETED = encode_event(RUN_COMPLETED, {})
FAILED = encode_event(RUN_FAILED, {})
DETAILS: dict[str, Any] = {"cached_tokens": 2, "reasoning_tokens": 3}  # of what `used` says
FAILURE = {"error_code": "oops", "error_message": "no", "retryable": 0}
SUSPENDED = b'{"type":"session.run.suspended","data":{}}'


def used(calls: int = 1, tokens_in: int | None = 5, tokens_out: int | None = 7, cost: int | None = 900) -> bytes:
    """Return what a worker tells about an attempt."""
    usage = Usage(calls, tokens_in, tokens_out, cost, "USD", "v1", "m", 2, 3, 'a "stop"')
    return encode_use(usage, first_event_ms=3, first_token_ms=4)


async def rows_of(store) -> list[LedgerRow]:
    return await store.ledger(KEY)


async def outcomes(store) -> list[tuple[int, str, str | None]]:
    return [(row.attempt, row.outcome, row.code) for row in await rows_of(store)]


async def sums(store) -> UsageSums:
    return await store.usage(SESSION)


async def test_a_settled_attempt_says_who_asked_what_it_used_and_how_long_it_took(store):
    claimed = await submit_and_claim(store, project="legal", user='a "b"', model="big")
    written = (await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {}, used())).row
    [row] = await rows_of(store)
    assert decode_row(written) == row
    record = await store.record(KEY)
    assert row == LedgerRow(
        run_id=KEY.run_id, session_id="demo", tenant_id="default", turn_index=0, turn_created_at=record.created_at,
        attempt=1, outcome="completed", code=None, project="legal", user='a "b"', model="big",
        started_at=record.started_at, ended_at=record.completed_at, wall_ms=record.completed_at - record.started_at,
        model_calls=1, tokens_in=5, tokens_out=7, cost_nanos=900, currency="USD", price_version="v1",
        model_called="m", cached_tokens=2, reasoning_tokens=3, finish_reason='a "stop"', first_event_ms=3,
        first_token_ms=4, partial=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "fields", "code"),
    [
        (TurnState.COMPLETED, {}, None),
        (TurnState.FAILED, FAILURE, "oops"),
        (TurnState.CANCELLED, FAILURE | {"error_code": "cancelled"}, "cancelled"),
    ],
)
async def test_a_settle_repeated_writes_and_counts_once(store, twice, status, fields, code):
    claimed = await submit_and_claim(store)
    row = (await twice(lambda: store.settle(claimed, status, 1, [FAILED], fields, used()))).row
    assert (decode_row(row).outcome, decode_row(row).code) == (status.value, code)
    assert await outcomes(store) == [(1, status.value, code)]
    assert await sums(store) == UsageSums(
        rows=1, model_calls=1, tokens_in=5, tokens_out=7, **DETAILS, cost_nanos={"USD": 900}
    )


async def test_a_handover_repeated_writes_and_counts_once(store, twice):
    claimed = await submit_and_claim(store)
    row = await twice(lambda: store.handover(claimed, used()))
    assert decode_row(row) == (await rows_of(store))[0]
    assert await outcomes(store) == [(1, "handover", None)]
    assert (await sums(store)).rows == 1


async def test_a_suspension_repeated_writes_and_counts_once(store, twice):
    claimed = await submit_and_claim(store)
    row = (await twice(lambda: store.suspend(claimed, "approval", None, 1, SUSPENDED, used()))).row
    assert decode_row(row) == (await rows_of(store))[0]
    assert await outcomes(store) == [(1, "suspended", None)]
    assert (await sums(store)).rows == 1


async def test_a_signal_that_was_there_ends_no_attempt(store):
    claimed = await submit_and_claim(store)
    await store.signal(KEY, "approval", b"1")
    await store.suspend(claimed, "approval", None, 1, SUSPENDED, used())
    assert await rows_of(store) == []


async def test_a_rewind_repeated_ends_the_old_number_once(store, twice):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, delta("a"))
    rewound = await twice(lambda: store.rewind(claimed, "1-0", used()))
    again, row = rewound.claimed, rewound.row
    assert decode_row(row) == (await rows_of(store))[0]
    await store.settle(again, TurnState.COMPLETED, again.next_seq, [COMPLETED], {}, used(2, 10, 10, 100))
    assert await outcomes(store) == [(1, "diverged", None), (2, "completed", None)]
    assert (await sums(store)).tokens_in == 15
    first, second = await rows_of(store)
    assert second.started_at == first.ended_at


async def test_a_dead_attempt_of_which_nothing_is_known_used_nobody_knows_what(store, twice):
    await submit_and_claim(store)
    await lose_lease(store)
    claimed = await twice(lambda: store.claim(KEY, OTHER_WORKER))
    [row] = await rows_of(store)
    assert (row.outcome, row.model_calls, row.tokens_in, row.tokens_out, row.cost_nanos, row.partial) == (
        "crashed", None, None, None, None, True,
    )  # fmt: skip
    assert {1: row} == {attempt: decode_row(row) for attempt, row in claimed.rows.items()}
    assert await sums(store) == UsageSums(rows=1, rows_tokens_unknown=1, rows_cost_unknown=1)


def checkpoint(
    position: int, cursor: str, calls: int, tokens_in: int, tokens_out: int, cost: int, *, result: object = None
) -> StepRecord:
    usage = Usage(calls, tokens_in, tokens_out, cost, "USD", "v1", "m")
    return msgspec.structs.replace(step(position, cursor, result=result), usage=usage)


async def test_a_dead_attempt_used_what_its_checkpoints_say_and_perhaps_more(store):
    claimed = await submit_and_claim(store)
    await store.checkpoint(claimed, checkpoint(0, "1-0", 2, 20, 2, 200))  # side by side: the later one ended first
    await store.checkpoint(claimed, checkpoint(1, "1-0", 1, 10, 1, 100, result='},"index":{"model_calls":99'))
    second = await take_over(store)
    await store.checkpoint(second, checkpoint(2, "2-1", 1, 7, 1, 70))
    third = await take_over(store)
    await store.settle(third, TurnState.COMPLETED, third.next_seq, [COMPLETED], {}, used(1, 1, 1, 1))
    assert [(row.outcome, row.model_calls, row.tokens_in, row.partial) for row in await rows_of(store)] == [
        ("crashed", 2, 20, True), ("crashed", 1, 7, True), ("completed", 1, 1, False),
    ]  # fmt: skip
    assert await sums(store) == UsageSums(
        rows=3, model_calls=4, tokens_in=28, tokens_out=4, **DETAILS, cost_nanos={"USD": 271},
        rows_tokens_unknown=2, rows_cost_unknown=2,
    )  # fmt: skip


async def test_a_failed_step_is_known_to_have_used_something_too(store):
    claimed = await submit_and_claim(store)
    tried = msgspec.structs.replace(checkpoint(0, "1-0", 1, 10, 1, 100), status="failed")
    await store.checkpoint(claimed, tried)
    await take_over(store)
    assert (await rows_of(store))[0].tokens_in == 10


async def test_an_attempt_that_nobody_ran_used_nothing(store, twice):
    await store.submit(KEY, request())
    await twice(lambda: store.cancel(KEY, "why not"))
    [row] = await rows_of(store)
    assert (row.outcome, row.code, row.wall_ms) == ("cancelled", "cancelled", 0)
    assert (row.model_calls, row.tokens_in, row.cost_nanos, row.partial) == (0, 0, 0, False)
    assert await sums(store) == UsageSums(rows=1)


async def test_a_suspended_turn_that_is_cancelled_has_a_row_for_both(store):
    claimed = await submit_and_claim(store)
    await store.suspend(claimed, "approval", None, 1, SUSPENDED, used())
    await store.cancel(KEY)
    assert await outcomes(store) == [(1, "suspended", None), (2, "cancelled", "cancelled")]


async def test_a_turn_that_lost_its_worker_and_is_cancelled_has_a_row_for_both(store):
    await submit_and_claim(store)
    await lose_lease(store)
    await store.cancel(KEY)
    assert await outcomes(store) == [(1, "crashed", None), (2, "cancelled", "cancelled")]


async def test_a_turn_that_is_given_up_has_a_row_for_each_crash_and_its_end(store, settings):
    await submit_and_claim(store)
    for _ in range(settings.max_attempts - 1):
        await take_over(store)
    await lose_lease(store)
    ended = await store.claim(KEY, OTHER_WORKER)
    crashes = [(number + 1, "crashed", None) for number in range(settings.max_attempts)]
    assert await outcomes(store) == [*crashes, (settings.max_attempts + 1, "failed", "attempts_exhausted")]
    assert sorted(ended.rows) == list(range(1, settings.max_attempts + 2))


async def test_a_retry_that_the_queue_refused_has_a_row(store):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.FAILED, 1, [FAILED], FAILURE, used())
    submitted = await store.submit(KEY, request())
    await store.withdraw(submitted, [FAILED])
    assert await outcomes(store) == [(1, "failed", "oops"), (2, "failed", "queue_full")]
    assert (await sums(store)).model_calls == 1


async def test_every_claim_that_finds_rows_says_them(store):
    claimed = await submit_and_claim(store)
    assert claimed.rows == {}
    await store.suspend(claimed, "approval", None, 1, SUSPENDED, used())
    suspended = await store.claim(KEY, OTHER_WORKER)
    assert isinstance(suspended, Suspended)
    assert list(suspended.rows) == [1]
    await store.signal(KEY, "approval", b"1")
    again = await claim(store)
    assert list(again.rows) == [1]
    await store.settle(again, TurnState.COMPLETED, again.next_seq, [COMPLETED], {}, used())
    assert sorted((await store.claim(KEY, OTHER_WORKER)).rows) == [1, 2]


async def test_rows_stay_as_long_as_their_turn(store, redis, settings):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.FAILED, 1, [FAILED], FAILURE, used())
    assert settings.retention_ms - 5000 < await redis.pttl(KEY.ledger) <= settings.retention_ms
    await store.submit(KEY, request())
    assert await redis.pttl(KEY.ledger) == -1


async def test_what_a_client_writes_cannot_look_like_a_count(store):
    name = '","tokens_in":999,"cost_nanos":999,"currency":"EUR","partial":true,"x":"\\'
    claimed = await submit_and_claim(store, user=name, project=name, model=name)
    await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {}, used(1, None, 7, None))
    [row] = await rows_of(store)
    assert (row.user, row.project, row.model, row.tokens_in) == (name, name, name, None)
    assert await sums(store) == UsageSums(
        rows=1, model_calls=1, tokens_out=7, **DETAILS, rows_tokens_unknown=1, rows_cost_unknown=1
    )  # fmt: skip


async def test_large_amounts_stay_exact(store):
    claimed = await submit_and_claim(store)
    large = 2**53 + 1
    await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {}, used(1, 2**31 - 1, 0, large))
    assert (await rows_of(store))[0].cost_nanos == large
    assert (await sums(store)).cost_nanos == {"USD": large}


async def test_a_sum_that_overflows_stops_no_turn(store):
    for index in range(3):
        claimed = await submit_and_claim(store, SESSION.turn(index))
        await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {}, used(1, 1, 1, 2**62))
    assert (await store.record(SESSION.turn(2))).terminal
    assert (await sums(store)).tokens_in == 3
