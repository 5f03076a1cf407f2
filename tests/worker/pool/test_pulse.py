"""The heartbeat's thread: it beats while the event loop is blocked, and stops when it is told to, however early."""

import asyncio
import threading
import time
from collections.abc import Callable

import msgspec
import pytest
from redis import Redis

from tests.support.turns import KEY, WORKER, request
from tests.support.waiting import LIMIT_S, wait_until
from turnwire.worker.pool import pulse as pulses
from turnwire.worker.pool.claims import Claims
from turnwire.worker.pool.pulse import Pulse


class Runner:
    """What the pulse asks of a TurnRunner."""

    def __init__(self, *held):
        self.attempts = list(held)
        self.replies = []
        self.beats = 0  # how often it was asked what is to be renewed

    def held(self):
        self.beats += 1
        return self.attempts

    def renewed(self, attempt, claimed, reply):
        self.replies.append((attempt, reply))


def block_until(condition: Callable[[], bool]) -> None:
    """Block the event loop until then."""
    give_up_at_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < give_up_at_s
        time.sleep(0.01)


@pytest.fixture
async def pulse_of(settings):
    started = []

    def start(runner, **changes):
        deaths: list[None] = []
        one = Pulse(
            changes.pop("settings", settings),
            WORKER,
            runner,
            entry=lambda _: b"{}",
            claims=Claims(),
            running=lambda: 0,
            on_death=lambda: deaths.append(None),
            on_drain=lambda: None,
        )
        one.start()
        started.append(one)
        return one, deaths

    yield start
    for one in started:
        await one.stop()


async def test_a_lease_is_renewed_while_the_loop_is_blocked(store, redis, settings, pulse_of, monkeypatch):
    await store.submit(KEY, request())
    claimed = await store.claim(KEY, WORKER)
    await redis.pexpire(KEY.lease, 600)
    runner = Runner(("attempt", claimed))
    short = msgspec.structs.replace(settings, lease_ms=1500)
    pulse_of(runner, settings=short)
    block_until(lambda: runner.beats == 3)  # which is after more than 600 ms
    assert await redis.pttl(KEY.lease) > 0


async def test_a_lost_lease_is_told_to_the_runner_in_the_event_loop(store, redis, pulse_of, monkeypatch):
    await store.submit(KEY, request())
    claimed = await store.claim(KEY, WORKER)
    await redis.hset(KEY.record, "attempt", 2)
    runner = Runner(("attempt", claimed))
    told_in = []
    monkeypatch.setattr(runner, "renewed", lambda *_: told_in.append(threading.get_ident()))
    pulse_of(runner)
    await wait_until(lambda: told_in, "the runner to be told")
    assert set(told_in) == {threading.get_ident()}


async def test_a_loop_that_is_blocked_for_long_counts_as_dead(store, redis, settings, pulse_of, monkeypatch):
    monkeypatch.setattr(pulses, "LOOK_S", 0.05)
    await store.submit(KEY, request())
    claimed = await store.claim(KEY, WORKER)
    runner = Runner(("attempt", claimed))
    short = msgspec.structs.replace(settings, lease_ms=300, blocked_s=0.3)
    pulse_of(runner, settings=short)
    await wait_until(lambda: redis.hexists("turnwire:workers", WORKER), "its first heartbeat")
    with Redis.from_url(settings.redis_url) as other:
        block_until(lambda: not other.exists(KEY.lease))
        beats = runner.beats
        time.sleep(0.5)  # noqa: ASYNC251 - the time of several heartbeats
        assert runner.beats == beats
        assert not other.exists(KEY.lease)


async def test_it_stops_before_it_has_begun(pulse_of):
    one, _ = pulse_of(Runner())
    await one.stop()
    await wait_until(
        lambda: not any(thread.name == "pulse" and thread.is_alive() for thread in threading.enumerate()),
        "the end of its thread",
    )


async def test_the_worker_hears_of_it_when_the_heartbeat_ends_by_itself(pulse_of, monkeypatch, caplog):
    async def dies(_: Pulse) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(Pulse, "_beat", dies)
    _, deaths = pulse_of(Runner())
    await wait_until(lambda: deaths, "the worker to be told")
    assert "the heartbeat failed" in caplog.text
    await asyncio.sleep(0)
