"""The feed of a session: every follower hears of each turn, from messages or, if these are lost, from the next look."""

from typing import Any

import pytest

from tests.support.devices import device, wait_a_ms
from tests.support.following import Writer
from tests.support.turns import KEY, SESSION, claim, request, submit_and_claim, take_over
from tests.support.waiting import let_pass, wait_until
from turnwire.api.following import feed
from turnwire.api.following.feeds import Feeds
from turnwire.shared.errors import NotFound
from turnwire.shared.events import encode_event
from turnwire.shared.store.turns import TurnStore


@pytest.mark.usefixtures("by_messages")
async def test_two_devices_hear_of_each_step_of_a_turn_that_a_third_one_asks(feeds: Feeds, store: TurnStore):
    await submit_and_claim(store)
    async with device(feeds) as one, device(feeds) as other:
        await one.hears((0, "running", 1))
        await store.submit(SESSION.turn(1), request(parent=0))
        await one.hears((1, "queued", 0))
        await wait_until(lambda: feeds.watched == 2, "its channel is followed")
        writer = Writer(store, KEY).take(await take_over(store))
        await one.hears((0, "running", 2))
        await writer.end()
        await one.hears((0, "completed", 2))
        await Writer(store, SESSION.turn(1)).claim()
        await one.hears((1, "running", 1))
        await other.hears((0, "completed", 2), (1, "running", 1))
        assert one.types[-2:] == ["session.turn.ended", "session.turn.running"]
        assert one.told[-1] | {"updatedAt": 0} == {
            "turnIndex": 1, "runId": "chat:demo:1", "status": "running", "attempt": 1, "parent": 0, "updatedAt": 0,
        }  # fmt: skip
        assert one.ids == other.ids
        assert len(set(one.ids)) == len(one.ids)


@pytest.mark.usefixtures("by_messages")
async def test_a_suspended_turn_and_a_cancelled_one_are_told(feeds: Feeds, store: TurnStore):
    claimed = await submit_and_claim(store)
    async with device(feeds) as one:
        await wait_until(lambda: feeds.watched, "its channel is followed")
        await store.suspend(claimed, "go", None, claimed.next_seq, SUSPENDED)
        await one.hears((0, "suspended", 1))
        await store.cancel(KEY)
        await one.hears((0, "cancelled", 2))
        assert one.types == ["session.turn.running", "session.turn.suspended", "session.turn.ended"]


SUSPENDED = encode_event("session.run.suspended", {"key": "go", "attempt": 1})


@pytest.mark.usefixtures("by_messages")
@pytest.mark.parametrize("woken", ["signal", "timeout"])
async def test_a_turn_that_goes_back_to_the_queue_is_told_at_once(feeds: Feeds, store: TurnStore, woken: str):
    claimed = await submit_and_claim(store)
    async with device(feeds) as one:
        await wait_until(lambda: feeds.watched, "its channel is followed")
        assert await store.handover(claimed)
        await one.hears((0, "queued", 1))
        claimed = await claim(store)
        await one.hears((0, "running", 2))
        await store.suspend(claimed, "go", 60_000, claimed.next_seq, SUSPENDED)
        await one.hears((0, "suspended", 2))
        if woken == "signal":
            await store.signal(KEY, "go", b"1")
        else:
            await store.redis.hset(KEY.record, "deadline", 1)
            assert await store.expire(KEY) == 0
        await one.hears((0, "queued", 2))


@pytest.mark.usefixtures("by_messages")
async def test_a_turn_that_the_queue_refused_is_told_as_gone(feeds: Feeds, store: TurnStore):
    await submit_and_claim(store)
    async with device(feeds) as one:
        await wait_until(lambda: feeds.watched, "its channel is followed")
        submitted = await store.submit(SESSION.turn(1), request())
        await one.hears((1, "queued", 0))
        assert await store.withdraw(submitted, []) is not None
        await one.hears((1, "gone", 0))


@pytest.mark.usefixtures("by_messages")
async def test_an_ended_turn_that_is_asked_again_is_told(feeds: Feeds, store: TurnStore):
    await submit_and_claim(store)
    await store.cancel(KEY)
    await store.redis.delete(KEY.lease)
    await store.cancel(KEY)
    for index in (1, 2):
        await (await (await Writer(store, SESSION.turn(index)).submit()).claim()).end()
    async with device(feeds) as one:
        await one.hears((2, "completed", 1))
        assert [index for index, *_ in one.statuses] == [2], "only the last one of those that have ended"
        await store.submit(KEY, request())
        await one.hears((0, "queued", 2))
        await store.cancel(KEY)
        await one.hears((0, "cancelled", 3))


async def test_a_lost_message_only_delays_what_is_told(feeds: Feeds, store: TurnStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feed, "LOOK_EVERY_S", 0.1)
    await submit_and_claim(store)
    async with device(feeds) as one:
        await one.hears((0, "running", 1))
        await store.redis.hset(KEY.record, mapping={"status": "queued", "updated_at": 10**13})  # without a message
        await one.hears((0, "queued", 1))


@pytest.mark.parametrize("told", [0, 1, 2, 3])
async def test_a_device_that_comes_back_hears_what_has_changed_since_its_cursor(
    feeds: Feeds, store: TurnStore, told: int
):
    """Also of a turn that had ended before its cursor and was asked again while it was away."""
    await submit_and_claim(store)
    async with device(feeds) as one:
        await wait_until(lambda: feeds.watched, "its channel is followed")
        await one.hears((0, "running", 1))
        await wait_a_ms(store)
        await store.redis.delete(KEY.lease)
        await store.cancel(KEY)
        await one.hears((0, "cancelled", 2))
        await wait_a_ms(store)
        await store.submit(SESSION.turn(1), request())
        await one.hears((1, "queued", 0))
        await wait_a_ms(store)
        await store.submit(KEY, request())
        await one.hears((0, "queued", 2))
    async with device(feeds, one.ids[told]) as again:
        latest = {index: change for index, *_ in one.statuses for change in one.statuses if change[0] == index}
        expected = [change for change in one.statuses[told + 1 :] if latest[change[0]] == change]
        if expected:
            await again.hears(*expected)
        await store.submit(SESSION.turn(2), request())
        await again.hears((2, "queued", 0))
        assert again.statuses == [*expected, (2, "queued", 0)]


@pytest.mark.usefixtures("by_messages")
async def test_the_followers_of_an_erased_session_end(feeds: Feeds, store: TurnStore, subscribed: Any):
    await submit_and_claim(store)
    async with device(feeds) as one, device(feeds) as other:
        await wait_until(subscribed, "it is subscribed")
        await store.erase(SESSION)
        await wait_until(lambda: one.ended and other.ended, "their streams end")
        assert one.statuses == [(0, "running", 1)]
        with feeds.follow(SESSION, None) as follower, pytest.raises(NotFound):
            await follower.started
    assert not await store.redis.exists(SESSION.record), "a look must not bring the session back"


@pytest.mark.usefixtures("by_messages")
async def test_a_session_without_an_open_turn_that_is_erased_ends_its_followers(feeds: Feeds, store: TurnStore):
    await (await (await Writer(store, KEY).submit()).claim()).end()
    async with device(feeds) as one:
        await one.hears((0, "completed", 1))
        await wait_until(lambda: subscribers(store, KEY.channel("")), "the channel of the last turn is followed")
        await store.erase(SESSION)
        await wait_until(lambda: one.ended, "its stream ends")


async def subscribers(store: TurnStore, channel: str) -> int:
    [(_, count)] = await store.redis.pubsub_numsub(channel)
    return int(count)


@pytest.mark.usefixtures("by_messages")
async def test_a_turn_that_others_follow_already_is_looked_at_once_more(
    hub: Any, feeds: Feeds, store: TurnStore, monkeypatch: pytest.MonkeyPatch
):
    """Its end may have been published before the feed has joined, and no subscription tells that messages begin."""
    writer = await (await Writer(store, KEY).submit()).claim()
    look = store.look

    async def and_then_it_ends(*args: Any, **options: Any) -> Any:
        found = await look(*args, **options)
        monkeypatch.setattr(store, "look", look)
        await writer.end()
        await let_pass(0.1)
        return found

    with hub.follow(KEY, None) as tail:
        await anext(aiter(tail))
        await wait_until(lambda: subscribers(store, KEY.channel("")), "its channel is followed")
        monkeypatch.setattr(store, "look", and_then_it_ends)
        async with device(feeds) as one:
            await one.hears((0, "completed", 1))


@pytest.mark.usefixtures("by_messages")
async def test_nobody_who_followed_an_erased_session_hears_of_one_that_begins_again(feeds: Feeds, store: TurnStore):
    await submit_and_claim(store)
    async with device(feeds) as one:
        await wait_until(lambda: feeds.watched, "its channel is followed")
        async with store.redis.pipeline(transaction=True) as pipe:  # so that no look comes in between
            for name in (*KEY.all_keys(), SESSION.numbering):
                pipe.delete(name)
            await pipe.execute()
        await wait_a_ms(store)
        await store.submit(KEY, request("of somebody else"))
        await store.redis.publish(SESSION.channel(""), "0")
        await wait_until(lambda: one.ended, "its stream ends")
        assert one.statuses == [(0, "running", 1)]


@pytest.mark.usefixtures("by_messages")
async def test_a_turn_whose_submit_is_taken_back_is_gone(feeds: Feeds, store: TurnStore):
    await submit_and_claim(store)
    async with device(feeds) as one:
        submitted = await store.submit(SESSION.turn(1), request())
        await one.hears((1, "queued", 0))
        await store.withdraw(submitted, [])
        await store.redis.publish(SESSION.channel(""), "1")
        await one.hears((1, "gone", 0))
        assert one.types[-1] == "session.turn.ended"
        await store.submit(SESSION.turn(1), request("another"))
        await one.hears((1, "queued", 0))


@pytest.mark.usefixtures("by_messages")
async def test_a_submit_tells_only_while_somebody_follows(store: TurnStore, feeds: Feeds):
    listener = store.redis.pubsub()
    await listener.subscribe(SESSION.channel(""))
    await listener.get_message(timeout=5)
    await store.submit(KEY, request())
    await store.redis.ping()
    assert await listener.get_message(timeout=0) is None
    async with device(feeds):
        await store.submit(SESSION.turn(1), request())
        told = await wait_until(lambda: listener.get_message(ignore_subscribe_messages=True), "the message")
        assert told["data"] == b"1"
    await listener.aclose()
