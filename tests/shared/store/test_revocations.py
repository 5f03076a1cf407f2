"""Revocations are kept as long as the tokens could live, and each process is told."""

import pytest

from tests.support.waiting import wait_until
from turnwire.shared import keys
from turnwire.shared.store.revocations import CLOCKS_MS, Revocations


@pytest.fixture
def revocations(redis, settings) -> Revocations:
    return Revocations(redis, settings)


async def test_the_latest_revocation_of_the_same_counts(redis, revocations):
    await revocations.add("acme/key/backend", 60)
    [member] = await redis.zrange(keys.REVOKED, 0, -1)
    await redis.zadd(keys.REVOKED, {b"acme/key/backend@5000": 9e15})
    assert await revocations.current() == {"acme/key/backend": int(member.rpartition(b"@")[2]) / 1000}


async def test_what_no_token_outlives_is_forgotten(redis, revocations):
    await redis.zadd(keys.REVOKED, {"acme/id/old@5000": 6000})
    at_ms = await revocations.add("acme/id/new", 60)
    assert await revocations.current() == {"acme/id/new": at_ms / 1000}
    assert 59_000 < await redis.pttl(keys.REVOKED) - CLOCKS_MS <= 60_000, "clocks differ"
    await revocations.add("acme/id/short", 1)
    assert await redis.pttl(keys.REVOKED) > 50_000 + CLOCKS_MS, "a shorter one does not end the longer one"


async def test_what_another_version_has_written_is_left_out(redis, revocations):
    at_ms = await revocations.add("acme/id/a", 60)
    await redis.zadd(keys.REVOKED, {"acme/id/b": 9e15, "acme/id/c@soon": 9e15, b"\xff@": 9e15})
    assert await revocations.current() == {"acme/id/a": at_ms / 1000}


async def test_the_processes_are_told(redis, revocations):
    async with redis.pubsub() as heard:
        await heard.subscribe(revocations.channel)
        await heard.get_message(timeout=5)
        await revocations.add("acme/id/a", 60)
        assert await wait_until(lambda: heard.get_message(ignore_subscribe_messages=True, timeout=0.1), "a message")
