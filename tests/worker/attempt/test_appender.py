"""The appender: coalesced, bounded, exact after faults, silent after a lost lease."""

import asyncio
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from stack.redis_server import RedisServer
from tests.support.faults import one_lost_reply
from tests.support.turns import KEY, SESSION, append, delta, log_of, seqs_of, snapshot, submit_and_claim, take_over
from tests.support.waiting import let_pass, wait_until
from turnwire.shared.errors import AttemptFenced, TurnFailure
from turnwire.shared.store.connect import connect
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt import appender as appender_module
from turnwire.worker.attempt.appender import Appender


class Counted:
    """A store whose calls are recorded, and may be held up."""

    def __init__(self, store: TurnStore) -> None:
        self._store = store
        self.settings_of = store.settings_of
        self.calls: list[list[int]] = []  # how many events of each log, for each round trip
        self.open = asyncio.Event()
        self.open.set()

    async def append_many(self, appends):
        self.calls.append([len(events) for _, _, events in appends])
        await self.open.wait()
        return await self._store.append_many(appends)


@pytest.fixture
async def writing(store):
    """The counted store and a function that opens a log; the appender runs."""
    counted = Counted(store)
    appender = Appender(cast("TurnStore", counted))
    lost: list[int] = []
    task = asyncio.create_task(appender.run())
    yield SimpleNamespace(
        store=counted, lost=lost, open=lambda claimed: appender.open(claimed, lambda _: lost.append(1))
    )
    task.cancel()
    await asyncio.wait({task})


def texts(log) -> list[str]:
    return [data["delta"] for _, event_type, data in log if event_type == "message.part.updated"]


async def test_a_lone_event_leaves_at_once(store, writing):
    log = writing.open(await submit_and_claim(store))
    assert log.put(delta("a")) is False
    await log.flush()
    assert texts(await log_of(store)) == ["a"]
    assert str(log.cursor) == "1-1"


async def test_events_that_gather_while_a_call_is_in_flight_leave_in_the_next_one(store, writing):
    log = writing.open(await submit_and_claim(store))
    writing.store.open.clear()
    log.put(delta("0"))
    await wait_until(lambda: writing.store.calls, "the first call")
    for number in range(1, 100):
        log.put(delta(str(number)))
    writing.store.open.set()
    await log.flush()
    assert writing.store.calls == [[1], [99]]
    assert texts(await log_of(store)) == [str(number) for number in range(100)]


async def test_one_round_trip_takes_the_events_of_all_turns(store, writing):
    logs = [
        writing.open(await submit_and_claim(store, SESSION.turn(index), on_busy="concurrent")) for index in range(5)
    ]
    for log in logs:
        log.put(delta("a"))
        log.put(delta("b"))
    await asyncio.gather(*(log.flush() for log in logs))
    assert writing.store.calls == [[2] * 5]
    for index in range(5):
        assert texts(await log_of(store, SESSION.turn(index))) == ["a", "b"]


@pytest.mark.parametrize("cause", ["flush", "first event"])
async def test_while_several_turns_write_a_round_trip_waits_for_more(store, writing, monkeypatch, cause):
    """The first event of an attempt does not wait, nor does an event for which somebody waits."""
    monkeypatch.setattr(appender_module, "GATHER_S", 60.0)
    one, two, late = [
        writing.open(await submit_and_claim(store, SESSION.turn(index), on_busy="concurrent")) for index in range(3)
    ]
    for log in (one, two):
        log.put(delta("first"))
    await wait_until(lambda: writing.store.calls == [[1, 1]] and one.written_seq == one.next_seq, "two writes")
    one.put(delta("a"))
    two.put(delta("b"))
    one.put(delta("c"))
    await let_pass(0.05)
    assert writing.store.calls == [[1, 1]]
    if cause == "flush":
        await two.flush()
        assert writing.store.calls[1:] == [[2, 1]]
    else:
        late.put(delta("first"))
        await wait_until(lambda: writing.store.calls[1:] == [[2, 1, 1]], "all of them")


async def test_a_turn_that_writes_alone_never_waits(store, writing, monkeypatch):
    monkeypatch.setattr(appender_module, "GATHER_S", 60.0)
    log = writing.open(await submit_and_claim(store))
    for number in range(5):
        log.put(delta(str(number)))
        await wait_until(lambda: log.written_seq == log.next_seq, "it is written")
    assert writing.store.calls == [[1]] * 5


async def test_one_call_carries_so_many_events_and_no_more(store, writing, monkeypatch):
    monkeypatch.setattr(appender_module, "CALL_EVENTS", 10)
    log = writing.open(await submit_and_claim(store))
    for number in range(25):
        log.put(delta(str(number)))
    await log.flush()
    assert writing.store.calls == [[10], [10], [5]]
    assert seqs_of(await log_of(store)) == list(range(26))


async def test_one_call_carries_so_many_bytes_and_at_least_one_event(store, writing, monkeypatch):
    monkeypatch.setattr(appender_module, "CALL_BYTES", 2 * len(delta("aaaa")))
    log = writing.open(await submit_and_claim(store))
    for content in ("aaaa", "bbbb", "cccc", "d" * 5000, "eeee"):
        log.put(delta(content))
    await log.flush()
    assert writing.store.calls == [[2], [1], [1], [1]]
    assert texts(await log_of(store)) == ["aaaa", "bbbb", "cccc", "d" * 5000, "eeee"]


async def test_a_full_buffer_asks_to_wait_and_room_comes_with_the_reply(store, writing, monkeypatch):
    monkeypatch.setattr(appender_module, "BUFFER_BYTES", 3 * len(delta("a")))
    log = writing.open(await submit_and_claim(store))
    writing.store.open.clear()
    assert [log.put(delta("a")) for _ in range(4)] == [False, False, False, True]
    waiting = asyncio.create_task(log.room())
    await wait_until(lambda: writing.store.calls, "the call to be in flight")
    assert not waiting.done()
    writing.store.open.set()
    await waiting
    assert log.put(delta("b")) is False
    await log.flush()
    assert texts(await log_of(store)) == ["a"] * 4 + ["b"]


async def test_room_is_there_at_once_in_an_empty_buffer(store, writing):
    await writing.open(await submit_and_claim(store)).room()


@pytest.mark.parametrize("resent", [False, True])
async def test_a_lost_reply_leaves_an_exact_log(store, redis, writing, resent):
    log = writing.open(await submit_and_claim(store))
    with one_lost_reply(redis, resent=resent):
        for number in range(10):
            log.put(delta(str(number)))
        await log.flush()
    log.put(delta("after"))
    await log.flush()
    assert texts(await log_of(store)) == [*map(str, range(10)), "after"]
    assert seqs_of(await log_of(store)) == list(range(12))
    assert writing.lost == []


async def test_a_forgotten_script_leaves_an_exact_log(store, redis, writing):
    log = writing.open(await submit_and_claim(store))
    log.put(delta("a"))
    await log.flush()
    await redis.script_flush()
    log.put(delta("b"))
    await log.flush()
    assert texts(await log_of(store)) == ["a", "b"]


@pytest.mark.parametrize("fault", ["paused", "restarted"])
async def test_redis_away_and_back_leaves_an_exact_log(tmp_path, settings, fault):
    with RedisServer(tmp_path, aof=True) as server:
        client = connect(server.url, connections=4)
        store = TurnStore(client, msgspec.structs.replace(settings, redis_timeout_s=0.2))
        lost = []
        appender = Appender(store)
        task = asyncio.create_task(appender.run())
        log = appender.open(await submit_and_claim(store), lambda _: lost.append(1))
        log.put(delta("before"))
        await log.flush()
        server.pause() if fault == "paused" else server.kill()
        for number in range(200):
            log.put(delta(str(number)))
        if fault == "paused":
            await wait_until(_passed(0.3), "a call to run into its timeout")
            server.resume()
        else:
            server.restart()
        log.put(delta("after"))
        await log.flush()
        assert texts(await log_of(store)) == ["before", *map(str, range(200)), "after"]
        assert seqs_of(await log_of(store)) == list(range(203))
        assert lost == []
        task.cancel()
        await asyncio.wait({task})
        await client.aclose(close_connection_pool=True)


def _passed(seconds: float):
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    return lambda: loop.time() > until


async def test_c80_a_lost_lease_is_told_once_and_nothing_more_is_written(store, redis, writing):
    stale = await submit_and_claim(store)
    log = writing.open(stale)
    log.put(delta("mine"))
    await log.flush()
    await take_over(store)
    before = await snapshot(redis)
    log.put(delta("late"))
    with pytest.raises(AttemptFenced):
        await log.flush()
    with pytest.raises(AttemptFenced):
        log.put(delta("later"))
    await log.room()
    assert writing.lost == [1]
    assert await snapshot(redis) == before


async def test_one_lost_lease_does_not_disturb_the_other_turns(store, writing):
    stale = await submit_and_claim(store)
    other = await submit_and_claim(store, SESSION.turn(1), on_busy="concurrent")
    await take_over(store)
    lost, fine = writing.open(stale), writing.open(other)
    lost.put(delta("late"))
    fine.put(delta("fine"))
    await fine.flush()
    assert texts(await log_of(store, other.key)) == ["fine"]
    assert writing.lost == [1]


async def test_who_waits_for_room_is_let_go_when_the_lease_is_lost(store, writing, monkeypatch):
    monkeypatch.setattr(appender_module, "BUFFER_BYTES", 1)
    stale = await submit_and_claim(store)
    await take_over(store)
    log = writing.open(stale)
    assert log.put(delta("late")) is True
    await log.room()
    assert writing.lost == [1]


async def test_an_abandoned_log_takes_and_writes_nothing_more(store, redis, writing):
    log = writing.open(await submit_and_claim(store))
    writing.store.open.clear()
    log.put(delta("in flight"))
    await wait_until(lambda: writing.store.calls, "the call to be in flight")
    log.put(delta("never"))
    log.abandon()
    writing.store.open.set()
    with pytest.raises(AttemptFenced):
        log.put(delta("refused"))
    await wait_until(lambda: redis.xlen(KEY.events), "the log")
    other = writing.open(await submit_and_claim(store, SESSION.turn(1), on_busy="concurrent"))
    other.put(delta("x"))
    await other.flush()
    assert texts(await log_of(store)) == ["in flight"]
    assert writing.lost == []


@pytest.mark.parametrize("limits", [{"max_log_events": 4}, {"max_log_bytes": 3 * len(delta("a"))}])
async def test_a_log_has_its_limits(redis, settings, limits):
    store = TurnStore(redis, msgspec.structs.replace(settings, **limits))
    appender = Appender(store)
    log = appender.open(await submit_and_claim(store), lambda _: None)
    for _ in range(3):
        log.put(delta("a"))
    with pytest.raises(TurnFailure, check=lambda refused: refused.code == "log_too_large"):
        log.put(delta("a"))


async def test_a_takeover_goes_on_where_the_log_stands(store, writing):
    first = await submit_and_claim(store)
    await append(store, first, 1, delta("a"), delta("b"))
    log = writing.open(await take_over(store))
    log.put(delta("c"))
    await log.flush()
    assert (str(log.cursor), seqs_of(await log_of(store))) == ("2-2", [0, 1, 2])
