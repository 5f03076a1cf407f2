"""Whose crash it was: only a worker that ran nothing else shows which turn kills it."""

import pytest

from tests.support.turns import KEY, SESSION, WORKER, claim, log_of, lose_lease, request, snapshot, submit_and_claim
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Claimed, Ended
from turnwire.shared.replies import PersistTry, Suspect
from turnwire.shared.store.attempts import ASIDE_MS

MANY = 40  # jobs of a worker that died


async def die(store, company, *, worker=WORKER):
    """The worker dies that runs the turn, and is buried with so many jobs."""
    await store.free([KEY], worker, company)


async def shared_crashes(store, *companies):
    """The turn was run by workers that died with so many jobs."""
    await store.submit(KEY, request())
    allowed = 0
    for company in companies:
        claimed = await store.claim(KEY, WORKER, company=allowed)
        assert isinstance(claimed, Claimed)
        await die(store, company)
        found = await store.claim(KEY, WORKER, company=10_000)
        allowed = found.limit if isinstance(found, Suspect) else 0
        if isinstance(found, Claimed):
            await store.handover(found)


async def limit(store):
    """How many suspects may run beside each other where this one runs; None: it is no suspect."""
    found = await store.claim(KEY, WORKER, company=10_000)
    return found.limit if isinstance(found, Suspect) else None


async def test_after_one_crash_any_worker_may_take_the_turn(store):
    await submit_and_claim(store)
    await die(store, MANY)
    assert isinstance(await store.claim(KEY, WORKER), Claimed)


async def test_after_the_second_crash_it_runs_beside_a_quarter_of_the_company_and_suspects_only(store, redis):
    await shared_crashes(store, MANY)
    await store.claim(KEY, WORKER)
    await die(store, MANY)
    before = await snapshot(redis)
    assert await store.claim(KEY, WORKER) == Suspect(10)
    assert await store.claim(KEY, WORKER, company=11) == Suspect(10)
    assert await snapshot(redis) == before, "nothing has begun"
    assert isinstance(await store.claim(KEY, WORKER, company=10), Claimed)


async def test_each_further_crash_leaves_fewer_until_it_runs_alone(store):
    await store.submit(KEY, request())
    found: list[int | None] = []
    allowed = 0
    for company in (100, 100, 25, 6, 1):
        assert isinstance(await store.claim(KEY, WORKER, company=allowed), Claimed)
        await die(store, company)
        found.append(await limit(store) if found else None)
        allowed = found[-1] or 0
    assert found == [None, 25, 6, 1, 1]


async def test_a_turn_that_always_had_company_is_never_given_up(store, settings):
    await store.submit(KEY, request())
    company = 0
    for _ in range(settings.max_attempts + 3):
        assert isinstance(await store.claim(KEY, WORKER, company=company), Claimed)
        await store.redis.hset(KEY.record, "company", MANY)  # a promise of MANY
        await lose_lease(store)
        company = 10
    assert isinstance(await store.claim(KEY, WORKER, company=company), Claimed)


async def test_a_burial_does_not_know_better_than_the_worker_had_promised(store):
    """The last heartbeat, which says how many jobs there were, may be older than the promise."""
    await store.submit(KEY, request())
    await claim(store)
    await die(store, MANY)
    assert await store.redis.hget(KEY.record, "company") == b"1"


async def test_only_crashes_without_company_count(store, settings):
    await store.submit(KEY, request())
    deaths = [MANY, MANY, *[1] * settings.max_attempts]
    for number, company in enumerate(deaths):
        assert isinstance(await store.claim(KEY, WORKER, company=0 if number < 2 else 1), Claimed)
        await die(store, company)
    assert isinstance(await store.claim(KEY, WORKER), Ended)
    assert (await store.record(KEY)).error.code == "attempts_exhausted"
    message = (await log_of(store))[-1][2]["message"]
    assert message == f"the turn was given up: {len(deaths)} workers died while they ran it"


async def test_where_nobody_buries_the_worker_its_promise_counts(store, settings):
    """Its lease ends by itself: then only a worker that had promised to run nothing else shows something."""
    await store.submit(KEY, request())
    for _ in range(settings.max_attempts + 1):
        await claim(store)
        await lose_lease(store)
        if isinstance(await store.claim(KEY, WORKER), Ended):
            break
    assert (await store.record(KEY)).error.code == "attempts_exhausted"


async def test_workers_that_die_at_the_same_time_are_one_crash_with_all_their_turns(store):
    """A pool was killed: no turn is suspected for having been alone in its worker, and many may run together again."""
    await store.submit(KEY, request())
    await store.claim(KEY, WORKER)
    await store.free([KEY], WORKER, 1, elsewhere=199)
    await claim(store)
    await store.free([KEY], WORKER, 1, elsewhere=199)
    assert await limit(store) == 50
    await claim(store)
    assert await store.redis.hget(KEY.record, "crashes_alone") == b"0"


async def test_without_a_promise_and_without_a_burial_nothing_counts(store):
    await store.submit(KEY, request())
    await store.claim(KEY, WORKER)
    await lose_lease(store)
    await store.claim(KEY, WORKER)
    await lose_lease(store)
    assert await limit(store) == 25, "it may have had a hundred neighbours"


@pytest.mark.parametrize("times", [1, 9])
async def test_a_worker_that_stopped_in_order_has_not_crashed(store, times):
    await store.submit(KEY, request())
    for _ in range(times):
        assert isinstance(await store.claim(KEY, WORKER), Claimed)
        await die(store, 0)
    assert isinstance(await store.claim(KEY, WORKER), Claimed)
    assert (await log_of(store))[-1][2]["reason"] == "lease_expired"


async def test_a_handover_is_no_crash_and_clears_nobody(store):
    await shared_crashes(store, MANY)
    await store.claim(KEY, WORKER)
    await die(store, MANY)
    claimed = await store.claim(KEY, WORKER, company=1)
    await store.handover(claimed)
    assert await limit(store) == 10


async def test_a_suspect_that_found_no_idle_worker_for_long_runs_beside_others(store, redis):
    await shared_crashes(store, MANY)
    await store.claim(KEY, WORKER)
    await die(store, MANY)
    assert isinstance(await store.claim(KEY, WORKER), Suspect)
    now, _ = await redis.time()
    await redis.hset(KEY.record, "lease_end", now * 1000 - ASIDE_MS - 1000)
    assert isinstance(await store.claim(KEY, WORKER), Claimed)


async def test_a_worker_that_takes_other_jobs_after_all_breaks_its_promise(store, redis, twice):
    await store.submit(KEY, request())
    await claim(store)
    await twice(lambda: store.mingle([KEY], WORKER))
    await store.mingle([KEY], "host/9/other")
    assert not await redis.hexists(KEY.record, "company")
    await die(store, 2)
    assert await redis.hget(KEY.record, "company") == b"2", "not alone"


async def test_a_suspect_can_be_cancelled_by_any_worker(store):
    await shared_crashes(store, MANY)
    await store.claim(KEY, WORKER)
    await store.cancel(KEY)
    await die(store, MANY)
    assert isinstance(await store.claim(KEY, WORKER), Ended)
    assert (await store.record(KEY)).status == "cancelled"


async def test_burying_a_worker_changes_no_turn_that_it_does_not_run(store, redis):
    await submit_and_claim(store, worker=WORKER)
    await store.submit(SESSION.turn(1), request())
    before = await snapshot(redis)
    await store.free([KEY, SESSION.turn(1), SESSION.turn(7)], "host/9/other", 3)
    assert await snapshot(redis) == before


async def pending(store):
    """A turn that has ended, and whose answer is not persisted yet."""
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [], {"persist": "pending"})


async def begin(store, company=0):
    """A try to persist begins, as if its pause were over."""
    await store.redis.hdel(KEY.record, "persist_at")
    return await store.try_to_persist(KEY, 1000, 60_000, rare_ms=3_600_000, company=company)


async def test_a_try_to_persist_that_never_ends_has_killed_its_worker(store):
    await pending(store)
    for _ in range(2):
        assert (await begin(store)).limit == 0
        await store.free([KEY], WORKER, MANY, persists=True)
    assert await begin(store) == PersistTry(2, 0, 10)
    assert (await begin(store, company=10)).limit == 0


async def test_a_try_that_fails_in_order_clears_its_job(store):
    await pending(store)
    for _ in range(3):
        await begin(store, company=1)
    await store.persist_failed(KEY)
    assert (await begin(store)).limit == 0


async def test_a_worker_that_stops_in_order_while_it_persists_has_not_crashed(store):
    await pending(store)
    for _ in range(4):
        assert (await begin(store)).limit == 0
        await store.free([KEY], WORKER, 0, persists=True)


async def test_an_answer_that_kills_its_workers_alone_is_tried_rarely(store, settings):
    await pending(store)
    for _ in range(settings.max_attempts):
        await begin(store, company=1)
        assert await pause_ms(store) <= 60_000
    await begin(store, company=1)
    assert await pause_ms(store) > 3_500_000


async def pause_ms(store):
    seconds, micros = await store.redis.time()
    return int(await store.redis.hget(KEY.record, "persist_at")) - (seconds * 1000 + micros // 1000)
