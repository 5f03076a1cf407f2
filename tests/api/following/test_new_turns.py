"""A reader of a turn that was made a moment ago: it expects the first event as a publication."""

import asyncio
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from tests.support.following import Follower, Writer, logged
from tests.support.turns import KEY
from tests.support.waiting import wait_until
from turnwire.api.following import topic
from turnwire.api.following.hub import Hub
from turnwire.shared.store.turns import TurnStore

LONG_S = 3600.0


async def has_subscribers(redis: Any) -> bool:
    [(_, count)] = await redis.pubsub_numsub(KEY.channel(""))
    return bool(count)


async def test_the_log_of_a_new_turn_is_not_read_if_every_event_is_published_to_its_reader(
    hub: Hub, store: TurnStore, writer: Writer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(topic, "FIRST_EVENT_S", LONG_S)
    reads = AsyncMock(side_effect=store.read)
    monkeypatch.setattr(store, "read", reads)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(Follower(hub, KEY, is_new=True).run())
        await wait_until(lambda: has_subscribers(store.redis), "the subscription")
        await writer.claim()
        await writer.say("a")
        await writer.end()
    assert reads.await_count == 0
    assert reading.result() == await logged(store, KEY)


async def test_the_first_event_of_a_new_turn_may_have_been_published_before_its_reader_came(
    make_hub: Any, store: TurnStore, writer: Writer
):
    await writer.claim()
    async with make_hub(silence_s=LONG_S) as hub, asyncio.TaskGroup() as group:
        follower = Follower(hub, KEY, is_new=True)
        reading = group.create_task(follower.run())
        await wait_until(lambda: follower.ids == ["1-0"], "the event is read although nothing else is published")
        await writer.end()
    assert reading.result() == await logged(store, KEY)


async def test_a_second_reader_of_a_new_turn_reads_its_log(
    make_hub: Any, store: TurnStore, writer: Writer, monkeypatch: pytest.MonkeyPatch
):
    """It was not there when the first one got the first event."""
    monkeypatch.setattr(topic, "FIRST_EVENT_S", LONG_S)
    async with make_hub(silence_s=LONG_S) as hub, asyncio.TaskGroup() as group:
        first, second = Follower(hub, KEY, is_new=True), Follower(hub, KEY, is_new=True)
        group.create_task(first.run())
        await wait_until(lambda: has_subscribers(store.redis), "the subscription")
        await writer.claim()
        await wait_until(lambda: first.ids == ["1-0"], "the first event")
        group.create_task(second.run())
        await wait_until(lambda: second.ids == ["1-0"], "the same event")
        await writer.end()
    assert first.ids == second.ids == await logged(store, KEY)


async def test_a_reader_of_another_kind_looks_again_when_the_messages_of_a_new_turn_begin(
    hub: Hub, store: TurnStore, writer: Writer, monkeypatch: pytest.MonkeyPatch
):
    """It takes no notice of gaps, so nothing else would tell it what was published before."""
    monkeypatch.setattr(topic, "FIRST_EVENT_S", LONG_S)
    other = Mock()
    await writer.claim()
    async with asyncio.TaskGroup() as group:
        with hub.follow(KEY, None, is_new=True), hub.listen(KEY, other):
            await wait_until(lambda: other.fall_behind.called, "the look of the other reader")
            reading = group.create_task(Follower(hub, KEY).run())
            await writer.end()
    assert reading.result() == await logged(store, KEY)
