"""Operators see the turns for whose project no worker has hooks."""

from tests.support.turns import KEY, SESSION
from turnwire.shared import keys
from turnwire.shared.store.queue import UNSERVED_MS
from turnwire.shared.store.queue_view import QueueView, UnservedProject

OTHER, THIRD = SESSION.turn(1).run_id, SESSION.turn(2).run_id


async def test_turns_that_wait_are_counted_by_project_with_the_oldest_one(queue, redis):
    await queue.note_unserved(KEY.run_id, "tax", 1_000)
    await queue.note_unserved(OTHER, "tax", 60_000)
    await queue.note_unserved(THIRD, "", 5_000)
    seconds, _ = await redis.time()
    tax, other = (await queue.view()).unserved
    assert (tax.project, tax.turns, other.project, other.turns) == ("tax", 2, None, 1)
    assert abs(tax.oldest_at / 1000 - (seconds - 60)) < 3
    assert abs(other.oldest_at / 1000 - (seconds - 5)) < 3


async def test_a_note_counts_for_a_while_only(queue, redis):
    await queue.note_unserved(KEY.run_id, "tax", 0)
    assert 0 < await redis.pttl(keys.UNSERVED) <= UNSERVED_MS
    assert 0 < await redis.pttl(keys.UNSERVED_SINCE) <= UNSERVED_MS
    await redis.zadd(keys.UNSERVED, {KEY.run_id: 1})
    assert (await queue.view()).unserved == []
    await queue.note_unserved(OTHER, "legal", 0)
    assert await redis.zrange(keys.UNSERVED, 0, -1) == [OTHER.encode()]
    assert await redis.hkeys(keys.UNSERVED_SINCE) == [OTHER.encode()]


async def test_noting_twice_is_noting_once(queue, twice):
    await twice(lambda: queue.note_unserved(KEY.run_id, "tax", 0))
    [tax] = (await queue.view()).unserved
    assert tax == UnservedProject("tax", 1, tax.oldest_at)


async def test_the_view_counts_jobs_open_turns_and_suspects(queue, redis):
    await queue.enqueue(KEY.run_id)
    await queue.announce(OTHER)
    [taken], _ = await queue.take("w", 1)
    await queue.set_aside("w", taken, 1)
    view = await queue.view()
    assert view == QueueView(view.now, 1, 2, 1, [], [], [])
