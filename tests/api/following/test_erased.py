"""The readers of a turn whose session is erased: their streams end, and those of a new turn do not."""

import asyncio
from typing import Any

import pytest

from tests.support.following import Follower, Writer
from tests.support.published import publication
from tests.support.turns import KEY, SESSION, delta
from tests.support.waiting import wait_until
from turnwire.api.following.tail import Page, Tail
from turnwire.shared.events import Cursor, Entry
from turnwire.shared.store.turns import TurnStore

NEVER_S = 3600.0  # no reader is told by the check of a silent turn


async def test_every_reader_of_an_erased_turn_ends(make_hub: Any, store: TurnStore, writer: Writer):
    await writer.claim()
    async with make_hub(silence_s=NEVER_S) as hub, asyncio.timeout(20), asyncio.TaskGroup() as group:
        followers = [Follower(hub, KEY) for _ in range(3)]
        readings = [group.create_task(follower.run()) for follower in followers]
        await wait_until(lambda: all(follower.ids for follower in followers), "each has the first event")
        await wait_until(lambda: channels(writer), "they are subscribed")
        await store.erase(SESSION)
        assert [await reading for reading in readings] == [["1-0"]] * 3


async def test_a_reader_of_an_erased_turn_that_had_not_begun_ends(make_hub: Any, store: TurnStore, writer: Writer):
    async with make_hub(silence_s=NEVER_S) as hub, asyncio.timeout(20), asyncio.TaskGroup() as group:
        reading = group.create_task(Follower(hub, KEY).run())
        await wait_until(lambda: hub.topics, "it follows")
        await wait_until(lambda: channels(writer), "it is subscribed")
        await store.erase(SESSION)
        assert await reading == []


async def channels(writer: Writer) -> bool:
    return bool(await writer._store.redis.pubsub_channels())


async def test_whoever_waits_for_the_end_of_an_erased_turn_returns(make_hub: Any, store: TurnStore, writer: Writer):
    async with make_hub(silence_s=NEVER_S) as hub, asyncio.timeout(20):
        with hub.watch(KEY) as ending:
            waiting = asyncio.create_task(ending.wait(60.0))
            await wait_until(lambda: channels(writer), "it is subscribed")
            await store.erase(SESSION)
            await waiting


@pytest.mark.parametrize("over", [False, True])
async def test_a_reader_that_has_no_event_yet_asks_whether_there_is_a_turn(over: bool):
    """The message about an erasure may come after a client has asked the turn anew."""
    checks: list[bool] = []
    tail = Tail(None, ask=lambda _, check_over: checks.append(check_over), buffer_bytes=1000, idle_s=0.01)
    assert await anext(tail) == []
    tail.land(Page([]))
    tail.erased()
    assert await anext(tail) == []
    assert checks == [False, True]
    tail.land(Page([], over=over))
    if over:
        with pytest.raises(StopAsyncIteration):
            await anext(tail)
    else:
        tail.offer(publication(1, 0, delta("a")))
        assert [entry.id for entry in await anext(tail)] == [b"1-0"]


async def test_a_reader_that_has_events_ends_without_a_read():
    asked: list[Tail] = []
    tail = Tail(Cursor(1, 3), ask=lambda tail, _: asked.append(tail), buffer_bytes=1000, idle_s=0.01)
    assert await anext(tail) == []
    tail.land(Page([Entry(b"1-4", delta("a"))]))
    tail.erased()
    with pytest.raises(StopAsyncIteration):
        await anext(tail)
    assert len(asked) == 1
