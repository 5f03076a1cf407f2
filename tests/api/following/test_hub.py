"""Every reader of a turn sees the log, whole and in order, whatever happens to the publications."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from arq.connections import ArqRedis

from stack.redis_server import RedisServer
from tests.support.following import Follower, Writer, logged
from tests.support.scraped import counted
from tests.support.turns import KEY, claim, request, step, take_over
from tests.support.waiting import wait_until
from turnwire.api.following.hub import Hub
from turnwire.shared.events import Cursor
from turnwire.shared.keys import session_key
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.connect import connect, connect_listener
from turnwire.shared.store.turns import TurnStore

LONG_S = 3600.0


async def subscriptions(redis: Any) -> int:
    return len(await redis.pubsub_channels())


async def has_subscribers(redis: Any) -> bool:
    [(_, count)] = await redis.pubsub_numsub(KEY.channel(""))
    return bool(count)


async def cut_subscriptions(redis: Any) -> None:
    await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


async def test_a_reader_from_the_start_sees_every_event_once(hub: Hub, store: TurnStore, writer: Writer):
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(Follower(hub, KEY).run())
        await writer.claim()
        for number in range(20):
            await writer.say(f"a{number}", f"b{number}")
        await writer.end()
    assert reading.result() == await logged(store, KEY)


async def test_a_reader_that_comes_late_reads_the_log(hub: Hub, store: TurnStore, writer: Writer):
    await writer.claim()
    await writer.say(*"abc")
    await writer.end()
    assert await Follower(hub, KEY).run() == ["1-0", "1-1", "1-2", "1-3", "1-4"]
    assert await Follower(hub, KEY, Cursor(1, 2)).run() == ["1-3", "1-4"]


async def test_a_log_longer_than_a_page_comes_whole(hub: Hub, store: TurnStore, writer: Writer):
    await writer.claim()
    for start in range(0, 2500, 250):
        await writer.say(*(str(number) for number in range(start, start + 250)))
    await writer.end()
    assert await Follower(hub, KEY).run() == await logged(store, KEY)


@pytest.mark.parametrize("seed", range(3))
async def test_many_readers_at_random_times_with_lost_subscriptions(
    make_hub: Any, redis: ArqRedis, store: TurnStore, seed: int
):
    """100 readers of 10 turns join anywhere at any time while the subscription is cut again and again."""
    dice = random.Random(seed)
    writers = [await Writer(store, session_key(f"s{number}").turn(0)).submit() for number in range(10)]
    readings: list[tuple[Writer, Cursor | None, asyncio.Task[list[str]]]] = []

    async def write(writer: Writer) -> None:
        await writer.claim()
        for number in range(100):
            await writer.say(*(f"{number}.{part}" for part in range(dice.randint(1, 3))))
            await asyncio.sleep(0)
        await writer.end()

    async with make_hub(silence_s=LONG_S) as hub, asyncio.TaskGroup() as group:
        writing = [group.create_task(write(writer)) for writer in writers]
        while not all(task.done() for task in writing):
            writer = dice.choice(writers)
            after = dice.choice([None, Cursor(1, dice.randint(0, 20))])
            if len(readings) < 100:
                readings.append((writer, after, group.create_task(Follower(hub, writer.key, after).run())))
            if dice.random() < 0.05:
                await cut_subscriptions(redis)
            await redis.ping()
    assert len(readings) > 20
    for writer, after, reading in readings:
        ids = await logged(store, writer.key)
        assert reading.result() == ids[after.seq + 1 if after else 0 :]


async def test_a_lost_subscription_loses_nothing(make_hub: Any, redis: ArqRedis, store: TurnStore, writer: Writer):
    """Nothing is written after the loss, so only the reconnection itself can tell."""
    await writer.claim()
    async with make_hub(silence_s=LONG_S) as hub, asyncio.TaskGroup() as group:
        follower = Follower(hub, KEY)
        reading = group.create_task(follower.run())
        await wait_until(lambda: follower.ids == ["1-0"], "the first event")
        await wait_until(lambda: has_subscribers(redis), "the subscription, which may come later than the first event")
        await redis.client_pause(50)  # what is published now goes out only after the connection is gone
        before = counted("api")
        await cut_subscriptions(redis)
        await writer.say("a")
        await writer.end()
        await wait_until(lambda: counted("api", before)("turnwire_subscriptions_lost_total") > 0, "the loss is counted")
    assert reading.result() == await logged(store, KEY)


async def test_a_slow_reader_falls_behind_and_catches_up(
    make_hub: Any, store: TurnStore, writer: Writer
):  # fmt: skip
    await writer.claim()
    async with make_hub(buffer_bytes=2000, silence_s=LONG_S) as hub, asyncio.TaskGroup() as group:
        slow, quick = Follower(hub, KEY), Follower(hub, KEY)
        slow.go_on.clear()
        readings = [group.create_task(reader.run()) for reader in (slow, quick)]
        await wait_until(lambda: slow.ids and quick.ids, "both have the first event")
        for number in range(300):
            await writer.say(f"text {number}")
        await writer.end()
        await wait_until(readings[1].done, "the quick one is not held up")
        assert slow.ids == ["1-0"]
        slow.go_on.set()
    assert slow.ids == quick.ids == await logged(store, KEY)


async def test_a_takeover_rewinds_a_live_reader(hub: Hub, store: TurnStore, writer: Writer):
    """It gets the discarded events, then the new attempt's; a fresh reader gets only those that remain."""
    async with asyncio.TaskGroup() as group:
        follower = Follower(hub, KEY)
        group.create_task(follower.run())
        await writer.claim()
        await writer.say(*"abcdef")
        await wait_until(lambda: "1-6" in follower.ids, "all of the first attempt")
        taken = await take_over(store)
        await store.checkpoint(taken, step(0, "2-1"))
        second = Writer(store, KEY).take(taken)
        await second.say("again")
        await second.end()
    assert follower.ids == [*(f"1-{seq}" for seq in range(7)), "2-1", "2-2", "2-3"]
    assert await Follower(hub, KEY).run() == ["1-0", "2-1", "2-2", "2-3"]


async def test_readers_of_one_turn_share_one_read(hub: Hub, store: TurnStore, monkeypatch: pytest.MonkeyPatch):
    writer = await Writer(store, KEY).submit()
    await writer.claim()
    reads = 0
    read = store.read

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read(*args, **kwargs)

    monkeypatch.setattr(store, "read", counted)
    async with asyncio.TaskGroup() as group:
        followers = [Follower(hub, KEY) for _ in range(50)]
        for follower in followers:
            group.create_task(follower.run())
        await wait_until(lambda: all(follower.ids for follower in followers), "all have the first event")
        assert reads < 5
        await writer.end()


async def test_a_turn_that_vanishes_ends_its_readers(make_hub: Any, redis: ArqRedis, writer: Writer):
    await writer.claim()
    async with make_hub(silence_s=0.05) as hub, asyncio.TaskGroup() as group:
        follower = Follower(hub, KEY)
        reading = group.create_task(follower.run())
        await wait_until(lambda: follower.ids, "the first event")
        await redis.flushall()
        await wait_until(reading.done, "the reader ends")


async def test_silence_is_reported_when_it_is_wanted(hub: Hub, writer: Writer):
    await writer.claim()
    with hub.follow(KEY, None, idle_s=0.02) as tail:
        assert [entry.id for entry in await anext(tail)] == [b"1-0"]
        assert await anext(tail) == []
        assert await anext(tail) == []


async def test_stopping_ends_every_reader_and_later_ones(hub: Hub, writer: Writer):
    await writer.claim()
    async with asyncio.TaskGroup() as group:
        follower = Follower(hub, KEY)
        group.create_task(follower.run())
        await wait_until(lambda: follower.ids, "the first event")
        hub.stop()
    assert await Follower(hub, KEY).run() == []


async def test_a_cancelled_reader_leaves_at_once(hub: Hub, redis: ArqRedis, writer: Writer):
    await writer.claim()
    follower = Follower(hub, KEY)
    reading = asyncio.create_task(follower.run())
    await wait_until(lambda: follower.ids, "the first event")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert hub.topics == 0


async def test_one_channel_left_and_joined_again_at_once(make_hub: Any, store: TurnStore, writer: Writer):
    """The confirmation of the first subscription must not count for the second."""
    await writer.claim()
    async with make_hub(silence_s=LONG_S) as hub:
        for number in range(200):
            with hub.follow(KEY, Cursor(1, number)):
                await asyncio.sleep(0)
            async with asyncio.TaskGroup() as group:
                with hub.follow(KEY, Cursor(1, number)) as tail:
                    saying = group.create_task(writer.say("x"))
                    async with asyncio.timeout(20):
                        assert [entry.id for entry in await anext(tail)] == [f"1-{number + 1}".encode()]
                    await saying


async def test_a_redis_that_restarts_interrupts_nobody(tmp_path: Any, settings: Any):
    """The stream continues where it was, without an error, once the log is there again."""
    with RedisServer(tmp_path / "own", aof=True) as server:
        client = connect(server.url, connections=4)
        store = TurnStore(client, settings)
        writer = await Writer(store, KEY).submit()
        await writer.claim()
        async with Hub(connect_listener(server.url), store) as hub, asyncio.TaskGroup() as group:
            follower = Follower(hub, KEY)
            reading = group.create_task(follower.run())
            await wait_until(lambda: follower.ids, "the first event")
            await asyncio.to_thread(server.restart)
            await writer.say("after")
            await writer.end()
        assert reading.result() == ["1-0", "1-1", "1-2"]
        await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize("end", ["completes", "vanishes", "stops"])
async def test_waiting_for_the_end(hub: Hub, redis: ArqRedis, writer: Writer, end: str):
    await writer.claim()
    ways: dict[str, Callable[[], Awaitable[Any]]] = {"completes": writer.end, "stops": lambda: asyncio.to_thread(int)}
    with hub.watch(KEY) as ending:
        waiting = asyncio.create_task(ending.wait(5.0))
        await wait_until(lambda: subscriptions(redis), "it listens")
        if end == "vanishes":
            await redis.flushall()
            ending.fall_behind()
        else:
            await ways[end]()
        if end == "stops":
            hub.stop()
        await wait_until(waiting.done, "it has returned")


async def test_waiting_ends_when_its_time_is_over(hub: Hub, writer: Writer):
    with hub.watch(KEY) as ending:
        await ending.wait(0.02)


async def test_a_turn_asked_again_goes_on_for_a_new_reader(hub: Hub, store: TurnStore, writer: Writer):
    claimed = await claim(store)
    failed = b'{"type":"session.run.failed","data":{"sessionId":"demo","message":"m","code":"c"}}'
    fields = {"error_code": "c", "error_message": "m", "retryable": "0"}
    await store.settle(claimed, TurnState.FAILED, claimed.next_seq, [failed], fields)
    assert await Follower(hub, KEY).run() == ["1-0", "1-1"]
    await store.submit(KEY, request())
    async with asyncio.TaskGroup() as group:
        follower = Follower(hub, KEY)
        group.create_task(follower.run())
        await wait_until(lambda: follower.ids == ["1-0"], "the reader has the first event again")
        await (await Writer(store, KEY).claim("host/2/bbbbbb")).end()
    assert follower.ids == ["1-0", "2-1", "2-2"]
