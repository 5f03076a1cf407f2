"""A submit that enqueues the turn's job: it leaves what a submit and an enqueue leave, or nothing at all."""

import re

import msgspec
import pytest

from tests.support.contracts import LUA, contract_of, kind_of
from tests.support.turns import KEY, SESSION, WORKER, request, snapshot, submit_and_claim
from turnwire.shared import keys
from turnwire.shared.errors import InputMismatch, LeaseHeld, QueueFull
from turnwire.shared.events import RUN_COMPLETED, RUN_FAILED, encode_event
from turnwire.shared.keys import SessionKey
from turnwire.shared.lanes import DEFAULT_LANE, Lane
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.job_bytes import decode_job
from turnwire.shared.store.queue import TurnQueue

OTHER = SESSION.turn(7)
END = {TurnState.COMPLETED: RUN_COMPLETED, TurnState.FAILED: RUN_FAILED}


async def ended(store, status: TurnState, key=KEY) -> None:
    claimed = await submit_and_claim(store, key)
    fields = {"final_text": "x"} if status is TurnState.COMPLETED else {"error_code": "x"}
    await store.settle(claimed, status, 1, [encode_event(END[status], {})], fields)


async def failed(store, queue) -> None:
    await ended(store, TurnState.FAILED)


async def failed_while_its_job_runs(store, queue) -> None:
    await queue.enqueue(KEY.run_id)
    await queue.take(WORKER, 1)
    await ended(store, TurnState.FAILED)


async def failed_while_its_job_waits(store, queue) -> None:
    await ended(store, TurnState.FAILED)
    await queue.enqueue(KEY.run_id)


async def queued(store, queue) -> None:
    await store.submit(KEY, request())


async def queued_with_a_job(store, queue) -> None:
    await store.submit(KEY, request())
    await queue.enqueue(KEY.run_id)


async def new(store, queue) -> None:
    pass


async def new_beside_others(store, queue) -> None:
    for index in (3, 4):
        await store.submit(SESSION.turn(index), request(on_busy="concurrent"))
        await queue.enqueue(SESSION.turn(index).run_id)
    await queue.enqueue(SessionKey("acme", "s").turn(0).run_id)


BEFORE = [
    new, new_beside_others, queued, queued_with_a_job, failed, failed_while_its_job_runs, failed_while_its_job_waits,
]  # fmt: skip
TIMES = re.compile(r"""[0-9]{13,}([.][0-9]+)?|(?<=_ms":)[0-9]+|(?<=submit_id', b')[0-9a-f]+""")  # and random ids
LANES = [DEFAULT_LANE, Lane("gpu", "batch")]


async def content(redis, key: bytes) -> object:
    match await redis.type(key):
        case b"hash":
            return sorted((await redis.hgetall(key)).items())
        case b"zset":
            return sorted(await redis.zrange(key, 0, -1, withscores=True))
        case b"list":
            return await redis.lrange(key, 0, -1)
        case b"set":
            return sorted(await redis.smembers(key))
        case b"stream":
            return await redis.xrange(key)
    text = await redis.get(key)
    return decode_job(text)["a"] if key.startswith(keys.JOB_PREFIX.encode()) else text


async def what_is_stored(redis) -> dict[bytes, str]:
    """Every key, with its content but without times and random ids, and whether it has a TTL."""
    stored = {}
    for key in await redis.keys("*"):
        text = repr(await content(redis, key))
        stored[key] = f"{TIMES.sub('T', text)} {await redis.pttl(key) > 0}"
    return stored


@pytest.mark.parametrize("lane", LANES, ids=lambda lane: lane.name)
@pytest.mark.parametrize("before", BEFORE)
async def test_it_leaves_what_a_submit_and_an_enqueue_leave(store, queue, redis, before, lane):
    await before(store, queue)
    submitted = await store.submit(KEY, request())
    await queue.enqueue(KEY.run_id, accepted=submitted.verdict == "attached", lane=lane, weight=2.5)
    by_two, verdict = await what_is_stored(redis), submitted.verdict
    await redis.flushdb()
    await before(store, queue)
    submitted = await store.submit(KEY, request(), job=queue.planned(KEY.run_id, lane=lane, weight=2.5))
    assert submitted.verdict == verdict
    assert await what_is_stored(redis) == by_two
    assert keys.job(KEY.run_id).encode() in by_two


async def test_the_next_turn_of_a_tenant_stands_in_the_line_of_that_tenant(store, queue, redis):
    session = SessionKey("acme", "s")
    turn = session.turn(await store.next_index(session))
    await store.submit_next(turn, request(), job=queue.planned(turn.run_id))
    assert await redis.zrange(f"{keys.WAITING_PREFIX}default:acme", 0, -1) == [turn.run_id.encode()]
    [taken], _ = await queue.take(WORKER, 5)
    assert taken.job_id == turn.run_id


async def test_a_repeat_makes_no_second_job(store, queue, redis, twice):
    submitted = await twice(lambda: store.submit(KEY, request(), job=queue.planned(KEY.run_id)))
    assert submitted.verdict == "attached"
    assert await redis.zrange(keys.QUEUE, 0, -1) == [KEY.run_id.encode()]
    assert await redis.llen(keys.HINTS) == 1


async def test_a_turn_that_runs_gets_no_job(store, queue, redis):
    await submit_and_claim(store)
    assert (await store.submit(KEY, request(), job=queue.planned(KEY.run_id))).verdict == "running"
    assert await redis.zcard(keys.QUEUE) == 0


async def test_a_completed_turn_gets_no_job(store, queue, redis):
    await ended(store, TurnState.COMPLETED)
    before = await snapshot(redis)
    assert (await store.submit(KEY, request(), job=queue.planned(KEY.run_id))).verdict == "replay"
    assert await snapshot(redis) == before


async def test_a_refused_turn_gets_no_job(store, queue, redis):
    await store.submit(KEY, request())
    before = await snapshot(redis)
    with pytest.raises(InputMismatch):
        await store.submit(KEY, request("other"), job=queue.planned(KEY.run_id))
    with pytest.raises(LeaseHeld):
        await store.submit(KEY, request(on_busy="reject"), job=queue.planned(KEY.run_id))
    assert await snapshot(redis) == before


@pytest.fixture
async def full_queue(redis, settings) -> TurnQueue:
    queue = TurnQueue(redis, msgspec.structs.replace(settings, max_queued=1))
    await queue.enqueue(OTHER.run_id)
    return queue


@pytest.mark.parametrize("before", [new, failed])
async def test_a_full_queue_refuses_it_and_nothing_is_written(store, redis, full_queue, before):
    await before(store, full_queue)
    stored = await snapshot(redis)
    with pytest.raises(QueueFull):
        await store.submit(KEY, request(), job=full_queue.planned(KEY.run_id))
    assert await snapshot(redis) == stored


async def test_a_full_queue_takes_a_turn_that_was_accepted_before(store, redis, full_queue):
    await store.submit(KEY, request())
    assert (await store.submit(KEY, request(), job=full_queue.planned(KEY.run_id))).verdict == "attached"
    assert await redis.zcard(keys.QUEUE) == 2


async def test_a_full_queue_takes_a_turn_whose_job_waits_in_it(store, redis, full_queue):
    await ended(store, TurnState.FAILED, OTHER)
    assert (await store.submit(OTHER, request(), job=full_queue.planned(OTHER.run_id))).verdict == "reopened"
    assert await redis.zcard(keys.QUEUE) == 1


def test_the_keys_of_a_job_are_those_of_enqueue(queue):
    planned = queue.planned(KEY.run_id)
    wanted = contract_of((LUA / "enqueue.lua").read_text(encoding="utf-8")).fixed("KEYS")[: len(planned.names)]
    assert len(planned.names) == 16
    kinds = [
        want if name == keys.CALLBACKS else kind_of(name) for name, want in zip(planned.names, wanted, strict=True)
    ]
    assert kinds == wanted
