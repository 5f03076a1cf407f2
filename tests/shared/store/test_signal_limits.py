"""signal: a turn has only so many of them, but never too many for the one that it waits for."""

import msgspec
import pytest

from tests.support.turns import KEY, append, delta, request, snapshot, submit_and_claim
from turnwire.shared.errors import SignalLimit
from turnwire.shared.events import RUN_SUSPENDED, encode_event
from turnwire.shared.store.turns import TurnStore

SUSPENDED = encode_event(RUN_SUSPENDED, {"awaiting": "approval", "timeoutMs": None})


@pytest.fixture
def small(redis, settings):
    return TurnStore(redis, msgspec.structs.replace(settings, max_signals=3, max_signal_bytes=220))


async def fill(store, count=3, payload=b"1"):
    for number in range(count):
        await store.signal(KEY, f"k{number}", payload)


async def test_one_signal_too_many_is_refused_and_nothing_is_written(small, redis):
    await small.submit(KEY, request())
    await fill(small)
    before = await snapshot(redis)
    with pytest.raises(SignalLimit, match="as many signals"):
        await small.signal(KEY, "k3", b"1")
    assert await snapshot(redis) == before


async def test_signals_that_are_too_large_together_are_refused(small, redis):
    await small.submit(KEY, request())
    await fill(small, count=2, payload=b'"%b"' % (b"x" * 40))
    before = await snapshot(redis)
    with pytest.raises(SignalLimit, match="too large"):
        await small.signal(KEY, "k2", b'"%b"' % (b"x" * 40))
    assert await snapshot(redis) == before
    assert (await small.signal(KEY, "k2", b"1")).first


async def test_a_signal_that_is_there_is_found_at_the_limit(small):
    await small.submit(KEY, request())
    await fill(small)
    assert (await small.signal(KEY, "k0", b"2")).first is False


async def test_the_signal_that_a_turn_waits_for_is_taken_at_the_limit(small):
    claimed = await submit_and_claim(small)
    await append(small, claimed, 1, delta("May I?"))
    await fill(small)
    await small.suspend(claimed, "approval", None, 2, SUSPENDED)
    signalled = await small.signal(KEY, "approval", b'"%b"' % (b"x" * 500))
    assert (signalled.first, signalled.enqueue) == (True, True)
