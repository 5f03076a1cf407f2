"""admit: a tenant has so many requests a second, open turns and sessions, and what has ended counts no more."""

from typing import Any

import pytest

from tests.support.turns import OTHER_WORKER, WORKER, snapshot
from turnwire.shared import keys
from turnwire.shared.errors import OpenTurnsLimit, RateLimited, SessionLimit
from turnwire.shared.keys import SessionKey, TurnKey
from turnwire.shared.limits import KeyAllowance, Limits

OPEN = keys.OWN_OPEN_PREFIX + "acme"


def limits(**changed: Any) -> Limits:
    return Limits(max_signals=1, max_body_bytes=1, **changed)


def of_key(name: str = "backend", **changed: float) -> Limits:
    return limits(key=KeyAllowance(holder=f"acme/{name}", **changed))  # type: ignore[arg-type]


def turn(index: int, session: str = "s", tenant: str = "acme") -> TurnKey:
    return SessionKey(tenant, session).turn(index)


async def test_a_turn_that_is_admitted_is_announced(redis, queue):
    admitted = await queue.admit(turn(0), limits(max_open_turns=1))
    assert float(admitted.mark) == await redis.zscore(keys.OPEN_TURNS, turn(0).run_id)
    assert (await queue.admit(turn(0), limits(max_open_turns=1))).mark == "", "it is announced already"


async def test_a_tenant_has_so_many_open_turns(redis, queue):
    for index in range(2):
        await queue.admit(turn(index), limits(max_open_turns=2))
    before = await snapshot(redis)
    with pytest.raises(OpenTurnsLimit) as refused:
        await queue.admit(turn(2), limits(max_open_turns=2))
    assert refused.value.retry_after_s
    assert await snapshot(redis) == before
    await queue.admit(turn(1), limits(max_open_turns=2))  # asked once more
    await queue.admit(turn(2, tenant="other"), limits(max_open_turns=2))


@pytest.mark.parametrize("end", ["ended", "taken back"])
async def test_a_turn_that_is_over_counts_no_more(redis, queue, end):
    admitted = await queue.admit(turn(0), limits(max_open_turns=1))
    if end == "ended":
        await queue.enqueue(turn(0).run_id)
        [job], _ = await queue.take(WORKER, 1)
        await queue.end(OTHER_WORKER, job)  # it has no claim
        assert await redis.scard(OPEN) == 1
        await queue.end(WORKER, job)
    else:
        await queue.forget(turn(0).run_id, admitted.mark)
    assert not await redis.exists(OPEN)
    await queue.admit(turn(1), limits(max_open_turns=1))


async def test_a_turn_that_is_parked_is_open(queue):
    await queue.admit(turn(0), limits(max_open_turns=1))
    await queue.enqueue(turn(0).run_id)
    [job], _ = await queue.take(WORKER, 1)
    await queue.park(WORKER, job)
    with pytest.raises(OpenTurnsLimit):
        await queue.admit(turn(1), limits(max_open_turns=1))


async def test_what_another_version_ended_without_counting_is_found(redis, queue):
    for index in range(3):
        await queue.admit(turn(index), limits(max_open_turns=3))
    await redis.zrem(keys.OPEN_TURNS, turn(0).run_id)
    await queue.admit(turn(3), limits(max_open_turns=3))
    with pytest.raises(OpenTurnsLimit):
        await queue.admit(turn(4), limits(max_open_turns=3))


async def test_a_tenant_has_so_many_sessions(redis, queue):
    await queue.admit(turn(0, "a"), limits(max_sessions=1))
    await queue.admit(turn(1, "a"), limits(max_sessions=1))
    with pytest.raises(SessionLimit):
        await queue.admit(turn(0, "b"), limits(max_sessions=1))
    await queue.drop_session(SessionKey("acme", "a"))
    await queue.admit(turn(0, "b"), limits(max_sessions=1))
    await redis.zadd(keys.OWN_SESSIONS_PREFIX + "acme", {"b": 1})  # the time for which its turns are kept is over
    await queue.admit(turn(0, "c"), limits(max_sessions=1))


async def test_a_tenant_sends_so_many_requests_at_once_and_then_waits(queue):
    assert (await queue.admit(turn(0), limits(requests_per_s=0.001))).left == 0
    with pytest.raises(RateLimited) as refused:
        await queue.admit(turn(1), limits(requests_per_s=0.001))
    assert 900 < (refused.value.retry_after_s or 0) <= 1000
    assert (await queue.admit(turn(0, tenant="other"), limits(requests_per_s=5))).left == 9


async def test_the_bucket_fills_again(redis, queue):
    await queue.admit(turn(0), limits(requests_per_s=0.001))
    rate = keys.RATE_PREFIX + "acme"
    assert 0 < await redis.pttl(rate) <= 1_000_000, "it goes when the bucket is full"
    full_at_us = int(await redis.get(rate))
    await redis.set(rate, full_at_us - 1_000_000_000, px=60_000)  # as it is 1000 s later
    await queue.admit(turn(1), limits(requests_per_s=0.001))


async def test_a_limit_that_is_gone_holds_nobody(queue):
    await queue.admit(turn(0), limits(requests_per_s=0.01))
    await queue.admit(turn(1), limits(max_open_turns=5))


async def test_a_key_has_so_many_open_turns_and_those_that_have_ended_make_room(queue):
    for index in range(2):
        await queue.admit(turn(index), of_key(max_open_turns=2))
    with pytest.raises(OpenTurnsLimit, match="this key"):
        await queue.admit(turn(2), of_key(max_open_turns=2))
    await queue.admit(turn(2), of_key("other", max_open_turns=2))
    await queue.enqueue(turn(1).run_id)
    [job], _ = await queue.take(WORKER, 1)
    await queue.end(WORKER, job)
    await queue.admit(turn(3), of_key(max_open_turns=2))
    with pytest.raises(OpenTurnsLimit):
        await queue.admit(turn(4), of_key(max_open_turns=2))


async def test_turns_of_a_key_that_stay_open_hide_none_that_has_ended(redis, queue):
    most = 150
    for index in range(most):
        await queue.admit(turn(index), of_key(max_open_turns=most))
    await redis.zrem(keys.OPEN_TURNS, turn(most - 1).run_id)  # the one that is looked at last
    with pytest.raises(OpenTurnsLimit):
        await queue.admit(turn(most), of_key(max_open_turns=most))
    await queue.admit(turn(most), of_key(max_open_turns=most))


async def test_a_key_has_so_many_sessions(queue):
    await queue.admit(turn(0, "a"), of_key(max_sessions=1))
    with pytest.raises(SessionLimit, match="this key"):
        await queue.admit(turn(0, "b"), of_key(max_sessions=1))
    await queue.admit(turn(0, "b"), of_key("other", max_sessions=1))


async def test_a_request_that_is_too_much_for_its_key_is_not_counted_for_its_tenant(redis, queue):
    both = limits(requests_per_s=0.002, key=KeyAllowance(holder="acme/backend", requests_per_s=0.001))
    admitted = await queue.admit(turn(0), both)
    assert (admitted.left, admitted.key_left) == (0, 0)
    await redis.delete(keys.RATE_PREFIX + "acme")
    with pytest.raises(RateLimited) as refused:
        await queue.admit(turn(1), both)
    assert (refused.value.holder, refused.value.burst, refused.value.window_s) == ("key", 1, 1000)
    assert not await redis.exists(keys.RATE_PREFIX + "acme")
