"""The list of the newest turns, for operators: who comes on it, and who leaves it."""

import msgspec

from tests.support.turns import KEY, SESSION, request
from turnwire.shared import keys
from turnwire.shared.store.erasures import Erasures
from turnwire.shared.store.listing import Listing
from turnwire.shared.store.queue import TurnQueue

OTHER = SESSION.turn(1)


async def listed(redis) -> list[str]:
    return [name.decode() for name in await redis.zrange(keys.LISTED, 0, -1)]


async def test_a_turn_keeps_the_place_of_its_first_enqueue(queue, redis):
    await queue.enqueue(KEY.run_id)
    since = await redis.zscore(keys.LISTED, KEY.run_id)
    await queue.enqueue(OTHER.run_id)
    [taken, _], _ = await queue.take("w", 2)
    await queue.end("w", taken)
    await queue.enqueue(KEY.run_id)
    assert await redis.zscore(keys.LISTED, KEY.run_id) == since
    assert await listed(redis) == [KEY.run_id, OTHER.run_id]


async def test_only_turns_are_listed(queue, redis):
    await queue.enqueue_persist(KEY.run_id)
    await queue.enqueue_callback(KEY.run_id)
    await queue.enqueue_erasure("erase:1", "default")
    assert await listed(redis) == []


async def test_the_sweep_keeps_the_list_short(redis, settings):
    queue = TurnQueue(redis, msgspec.structs.replace(settings, listed_turns=3))
    turns = [SESSION.turn(index).run_id for index in range(5)]
    for run_id in turns:
        await queue.enqueue(run_id)
    await queue.due("w")
    assert await listed(redis) == turns[2:]


async def test_a_turn_leaves_the_list_when_its_retention_is_over_unless_it_is_open(queue, redis, settings):
    await queue.enqueue(KEY.run_id)
    await queue.enqueue(OTHER.run_id)
    [taken, _], _ = await queue.take("w", 2)
    await queue.end("w", taken)
    seconds, _ = await redis.time()
    long_ago = (seconds - settings.retention_s - 1) * 1_000_000
    await redis.zadd(keys.LISTED, {KEY.run_id: long_ago, OTHER.run_id: long_ago})
    await queue.due("w")
    assert await listed(redis) == [OTHER.run_id]


async def test_unlisting_leaves_a_turn_that_was_listed_anew(queue, redis, twice):
    await queue.enqueue(KEY.run_id)
    since = int(await redis.zscore(keys.LISTED, KEY.run_id))
    await Listing(queue).unlist([(KEY.run_id, since - 1)])
    assert await listed(redis) == [KEY.run_id]
    await twice(lambda: Listing(queue).unlist([(KEY.run_id, since)]))
    assert await listed(redis) == []


async def test_an_erased_session_is_not_on_the_list(store, queue, redis):
    for key in (KEY, OTHER, SESSION.turn(2)):
        await store.submit(key, request())
        await queue.enqueue(key.run_id)
    await queue.enqueue("chat:another:0")
    await Erasures(store, queue).erase_session(SESSION)
    assert await listed(redis) == ["chat:another:0"]
