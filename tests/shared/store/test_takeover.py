"""The claim of a later attempt cuts the log, and there may be only so many such attempts."""

from tests.support.turns import (
    KEY,
    OTHER_WORKER,
    SESSION,
    WORKER,
    append,
    claim,
    delta,
    log_of,
    lose_lease,
    request,
    seqs_of,
    snapshot,
    step,
    submit_and_claim,
    take_over,
    types_of,
)
from turnwire.shared.events import RUN_FAILED, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Claimed, Ended
from turnwire.shared.replies import Suspect

A, B, C = delta("a"), delta("b"), delta("c")


async def test_without_a_step_only_the_first_event_stands(store):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, A, B)
    second = await take_over(store)
    resumed = {"attempt": 2, "after": "1-0", "reason": "lease_expired"}
    log = await log_of(store)
    assert [entry[0] for entry in log] == ["1-0", "2-1"]
    assert log[1][1:] == ("session.run.resumed", resumed)
    assert second.next_seq == 2


async def test_what_the_last_completed_step_covers_stands(store):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, A, B, C)
    await store.checkpoint(claimed, step(0, "1-2"))
    await take_over(store)
    log = await log_of(store)
    assert [entry[0] for entry in log] == ["1-0", "1-1", "1-2", "2-3"]
    assert log[-1][2] == {"attempt": 2, "after": "1-2", "reason": "lease_expired"}


async def test_the_cursor_counts_not_the_order_of_the_steps(store):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, *[A] * 12)
    for position, cursor in enumerate(["1-2", "1-11", "1-9"]):
        await store.checkpoint(claimed, step(position, cursor))
    await take_over(store)
    assert (await log_of(store))[-1][2]["after"] == "1-11"


async def test_a_step_of_a_later_attempt_stands_above_those_before(store):
    first = await submit_and_claim(store)
    await append(store, first, 1, A)
    await store.checkpoint(first, step(0, "1-1"))
    second = await take_over(store)
    await append(store, second, second.next_seq, B, C)
    await store.checkpoint(second, step(1, "2-3"))
    await take_over(store, worker=WORKER)
    log = await log_of(store)
    assert [entry[0] for entry in log] == ["1-0", "1-1", "2-2", "2-3", "3-4"]
    assert log[-1][2]["after"] == "2-3"


async def test_the_log_of_many_deaths_has_dense_seqs_and_one_resumed_event(store):
    await submit_and_claim(store, worker=WORKER)
    claimed = await take_over(store)
    await append(store, claimed, claimed.next_seq, A, B)
    await lose_lease(store)
    claimed = await claim(store, worker=WORKER)
    log = await log_of(store)
    assert seqs_of(log) == [0, 1]
    assert types_of(log) == ["session.run.started", "session.run.resumed"]
    assert claimed.attempt == 3


async def test_a_long_discarded_part_is_deleted_whole(store):
    claimed = await submit_and_claim(store)
    for seq in range(1, 1402, 200):
        await append(store, claimed, seq, *[A] * 200)
    await take_over(store)
    assert [entry[0] for entry in await log_of(store)] == ["1-0", "2-1"]


async def test_readers_are_sent_the_resumed_event(store, published):
    await submit_and_claim(store)
    await lose_lease(store)
    next_message = await published(KEY.events)
    second = await claim(store, worker=OTHER_WORKER)
    assert await next_message() == b"2-1\n" + second.first_event


async def test_a_handover_resumes_with_its_own_reason_and_spends_no_attempt(store, settings):
    claimed = await submit_and_claim(store)
    for _ in range(settings.max_attempts + 2):
        assert await store.handover(claimed)
        claimed = await claim(store)
        assert (await log_of(store))[-1][2]["reason"] == "handover"


async def test_c3_a_failed_turn_that_is_asked_again_resumes_as_a_retry(store):
    first = await submit_and_claim(store)
    await append(store, first, 1, A)
    await store.settle(first, TurnState.FAILED, 2, [encode_event(RUN_FAILED, {})], {})
    await store.submit(KEY, request())
    second = await claim(store)
    assert second.attempt == 2
    log = await log_of(store)
    assert types_of(log) == ["session.run.started", "session.run.resumed"]
    assert log[-1][2] == {"attempt": 2, "after": "1-0", "reason": "retry"}


async def test_a_repeated_takeover_is_the_same_attempt(store, twice):
    first = await submit_and_claim(store)
    await append(store, first, 1, A)
    await lose_lease(store)
    second = await twice(lambda: store.claim(KEY, OTHER_WORKER))
    assert isinstance(second, Claimed)
    assert (second.attempt, second.next_seq) == (2, 2)
    assert seqs_of(await log_of(store)) == [0, 1]


async def _crash(store, times: int) -> None:
    await submit_and_claim(store)
    for _ in range(times - 1):
        await take_over(store)
    await lose_lease(store)


async def test_the_last_allowed_attempt_still_runs(store, settings):
    await _crash(store, settings.max_attempts - 1)
    assert isinstance(await store.claim(KEY, WORKER, company=1), Claimed)


async def test_after_too_many_crashes_the_turn_fails_once_and_for_all(store, redis, settings):
    await _crash(store, settings.max_attempts)
    await store.submit(SESSION.turn(1), request("next"))
    assert (await store.claim(KEY, WORKER)).woken == [1]
    record = await store.record(KEY)
    assert record.status is TurnState.FAILED
    assert (record.error.code, record.error.retryable) == ("attempts_exhausted", False)
    log = await log_of(store)
    assert types_of(log)[-2:] == ["error", "session.run.failed"]
    assert log[-1][2]["code"] == "attempts_exhausted"
    assert seqs_of(log) == list(range(len(log)))
    assert not await redis.exists(KEY.lease)
    before = await snapshot(redis)
    assert (await store.claim(KEY, WORKER)).woken == [1]
    assert await snapshot(redis) == before


async def test_asking_again_after_too_many_crashes_starts_the_count_anew(store, settings):
    await _crash(store, settings.max_attempts)
    assert isinstance(await store.claim(KEY, WORKER), Ended)
    assert (await store.submit(KEY, request())).verdict == "reopened"
    assert isinstance(await store.claim(KEY, WORKER), Suspect), "it is still one"
    assert isinstance(await store.claim(KEY, WORKER, company=1), Claimed)


async def test_giving_up_may_be_repeated(store, twice, settings):
    await _crash(store, settings.max_attempts)
    assert (await twice(lambda: store.claim(KEY, WORKER))).woken == []
    assert types_of(await log_of(store)).count("session.run.failed") == 1


async def test_after_a_rewind_past_a_step_the_next_attempt_names_an_event_that_is_there(store):
    """It named the step's cursor, which the rewind had deleted: a client that had read so far kept the dead events."""
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, A, B, C)
    await store.checkpoint(claimed, step(0, "1-3"))
    await store.rewind(await take_over(store), "1-1")
    await take_over(store, worker=WORKER)
    log = await log_of(store)
    assert [entry[0] for entry in log] == ["1-0", "1-1", "4-2"]
    assert log[-1][2] == {"attempt": 4, "after": "1-1", "reason": "lease_expired"}
