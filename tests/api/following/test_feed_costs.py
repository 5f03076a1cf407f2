"""What the feed of a session costs, and what it does when something is away or broken."""

from typing import Any

import pytest

from tests.support.devices import NEVER_S, device
from tests.support.following import Writer
from tests.support.turns import KEY, SESSION, request, submit_and_claim, take_over
from tests.support.waiting import let_pass, wait_until
from turnwire.api.following import feed
from turnwire.api.following.change import ChangeCursor
from turnwire.api.following.feeds import Feeds
from turnwire.shared.errors import BadRequest, StoreUnavailable
from turnwire.shared.store import session_look
from turnwire.shared.store.turns import TurnStore


async def test_a_device_that_never_reads_holds_one_change_of_each_turn(feeds: Feeds, store: TurnStore):
    await submit_and_claim(store)
    with feeds.follow(SESSION, None) as lazy:
        await lazy.started
        async with device(feeds) as one:
            for _ in range(2):
                claimed = await take_over(store)
                await one.hears((0, "running", claimed.attempt))
        assert len(lazy._waiting) == 1
        assert [entry.id.decode() for entry in await anext(lazy)] == one.ids[-1:]


async def test_the_words_of_a_running_turn_cost_no_look(
    feeds: Feeds, store: TurnStore, monkeypatch: pytest.MonkeyPatch
):
    looks = 0
    look = store.look

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal looks
        looks += 1
        return await look(*args, **options)

    monkeypatch.setattr(feed, "LOOK_EVERY_S", NEVER_S)
    monkeypatch.setattr(store, "look", counted)
    writer = await (await Writer(store, KEY).submit()).claim()
    async with device(feeds) as one:
        await wait_until(lambda: looks >= 2, "it has looked after the subscriptions")
        await let_pass(0.2)
        before = looks
        for _ in range(50):
            await writer.say("word")
        await writer.end()
        await one.hears((0, "completed", 1))
        assert looks == before + 1


async def test_all_who_follow_a_session_share_one_feed_and_leave_nothing(feeds: Feeds, store: TurnStore):
    await submit_and_claim(store)
    async with device(feeds), device(feeds), device(feeds):
        assert feeds.followers == 3
        await wait_until(lambda: feeds.watched == 1, "one reader of the turn for all of them")
    assert (feeds.followers, feeds.watched) == (0, 0)


async def test_a_follower_ends_when_the_process_drains(feeds: Feeds, store: TurnStore):
    await submit_and_claim(store)
    async with device(feeds) as one:
        await one.hears((0, "running", 1))
        feeds.stop()
        await wait_until(lambda: one.ended, "it ends")
        async with device(feeds) as late:
            await wait_until(lambda: late.ended, "one that comes later ends, too")


async def test_a_store_that_is_away_refuses_who_begins_and_keeps_who_waits(
    feeds: Feeds, store: TurnStore, monkeypatch: pytest.MonkeyPatch
):
    await submit_and_claim(store)
    look = store.look

    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "look", away)
    with feeds.follow(SESSION, None) as follower:
        with pytest.raises(StoreUnavailable):
            await follower.started
        monkeypatch.setattr(store, "look", look)
        assert b'"status":"running"' in (await anext(follower))[0].event


async def test_a_defect_ends_the_followers_and_the_next_one_begins_anew(
    feeds: Feeds, store: TurnStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    await submit_and_claim(store)
    look = store.look

    async def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(store, "look", broken)
    with feeds.follow(SESSION, None) as follower:
        with pytest.raises(ZeroDivisionError):
            await follower.started
        monkeypatch.setattr(store, "look", look)
        async with device(feeds) as one:
            await one.hears((0, "running", 1))
    assert "a session cannot be followed" in caplog.text


async def test_long_sessions_are_looked_at_page_by_page(
    feeds: Feeds, store: TurnStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("turnwire.shared.store.session_reads.LOOKED_AT", 3)
    for index in range(10):
        await store.submit(SESSION.turn(index), request())
    async with device(feeds, "0-0-0-queued") as one:
        await one.hears(*((index, "queued", 0) for index in range(10)))
        await store.cancel(SESSION.turn(7))
        await store.redis.publish(SESSION.channel(""), "7")
        await one.hears((7, "cancelled", 1))


async def test_the_note_that_somebody_follows_is_renewed_late_and_keeps_the_ttl(store: TurnStore):
    await submit_and_claim(store)
    await store.redis.pexpire(SESSION.record, 100_000)
    await store.look(SESSION)
    first = await store.redis.hget(SESSION.record, "followed")
    await store.look(SESSION)
    assert await store.redis.hget(SESSION.record, "followed") == first
    await store.redis.hset(SESSION.record, "followed", int(first) - session_look.FOLLOWED_MS * 2 // 3)
    await store.look(SESSION)
    assert int(await store.redis.hget(SESSION.record, "followed")) >= int(first)
    assert 0 < await store.redis.pttl(SESSION.record) <= 100_000


@pytest.mark.parametrize(
    "text", ["", "1-2", "1-2-3-", "1-2-3-done", "a-1-1-queued", "1-1-1-queued-", "1" * 17 + "-1-1-queued"]
)
def test_what_is_no_id_of_a_change_is_refused(text: str):
    with pytest.raises(BadRequest):
        ChangeCursor.parse(text)


def test_a_cursor_reads_what_it_writes():
    cursor = ChangeCursor(1764151200123, 4, 2, "gone")
    assert ChangeCursor.parse(str(cursor)) == cursor
