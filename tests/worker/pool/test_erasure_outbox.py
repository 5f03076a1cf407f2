"""The product is told of each erasure until it has followed, by whatever worker has its hooks."""

import pytest

from tests.support.scraped import grows
from tests.support.turns import SESSION, WORKER, claim, request
from turnwire import ChatTurnHooks, Erasure
from turnwire.shared import keys
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.store.erasures import Erasures
from turnwire.worker.attempt.outcome import Again, Done
from turnwire.worker.pool.erasure_outbox import ErasureOutbox
from turnwire.worker.pool.rebuild import Rebuild
from turnwire.worker.pool.sweep import Sweep
from turnwire.worker.products import Products
from turnwire.worker.rebuild_queue import rebuild_queue


class Erasing(ChatTurnHooks):
    """Fails for the first so many calls."""

    def __init__(self, fails: int = 0) -> None:
        self.fails = fails
        self.told: list[Erasure] = []

    async def on_erase(self, erasure: Erasure) -> None:
        self.told.append(erasure)
        if len(self.told) <= self.fails:
            raise RuntimeError("no database")


class Nothing(ChatTurnHooks):
    """Has no hook for erasures."""


@pytest.fixture
def erasures(store, queue):
    return Erasures(store, queue)


@pytest.fixture
def outbox_of(erasures, settings):
    return lambda products: ErasureOutbox(erasures, Products(products), settings)


@pytest.fixture
def due(redis):
    """Makes the next try due: as if its pause were over."""

    async def pass_pause(erasure_id: str) -> None:
        await redis.hset(keys.ERASURES, f"{erasure_id}:next_at", 0)

    return pass_pause


@pytest.fixture
async def erased(redis, store, erasures, due):
    """Erases a session that had queued turns of these projects, as if no worker could be at work any more."""

    async def erase(*projects: str | None) -> str:
        for index, project in enumerate(projects):
            await store.submit(SESSION.turn(index), request(project=project))
        receipt = await erasures.erase_session(SESSION)
        await due(receipt.id)
        return receipt.id

    yield erase
    await redis.delete(keys.ERASURES, keys.QUEUE, keys.OPEN_TURNS, keys.HINTS)
    for name in [*await redis.keys("arq:job:*"), *await redis.keys("turnwire:[tw][ae]*")]:
        await redis.delete(name)


async def test_it_is_told_until_it_succeeds(erased, due, erasures, outbox_of):
    hooks = Erasing(fails=2)
    outbox = outbox_of({None: hooks})
    erasure_id = await erased(None)
    job_id = keys.ERASURE_PREFIX + erasure_id
    assert await outbox.run(job_id) == Again(2000)
    early = await outbox.run(job_id)  # as after a crash in the middle of a try
    assert isinstance(early, Again)
    assert len(hooks.told) == 1
    await due(erasure_id)
    assert await outbox.run(job_id) == Again(4000)
    await due(erasure_id)
    assert isinstance(await outbox.run(job_id), Done)
    assert {erasure.id for erasure in hooks.told} == {erasure_id}
    assert (hooks.told[-1].tenant_id, hooks.told[-1].user, hooks.told[-1].sessions) == ("default", None, ["demo"])
    assert await erasures.kept() == []
    assert isinstance(await outbox.run(job_id), Done)
    assert len(hooks.told) == 3


async def test_each_product_is_told_by_a_worker_that_has_its_hooks(erased, due, erasures, outbox_of):
    legal, tax, other = Erasing(), Erasing(), Erasing()
    erasure_id = await erased("legal", "tax", "legal")
    job_id = keys.ERASURE_PREFIX + erasure_id
    assert isinstance(await outbox_of({"legal": legal, "gtm": other}).run(job_id), Again)
    await due(erasure_id)
    assert isinstance(await outbox_of({"legal": legal, "gtm": other}).run(job_id), Again)
    await due(erasure_id)
    assert isinstance(await outbox_of({"tax": tax}).run(job_id), Done)
    assert (len(legal.told), len(tax.told), len(other.told)) == (1, 1, 0)
    assert await erasures.kept() == []


async def test_every_product_is_told_if_no_turn_was_left_that_names_one(redis, store, erased, outbox_of):
    legal, other = Erasing(), Erasing()
    await store.submit(SESSION.turn(0), request(project="legal"))
    await redis.delete(SESSION.turn(0).record)
    job_id = keys.ERASURE_PREFIX + await erased()
    assert isinstance(await outbox_of({"legal": legal, None: other, "same": other}).run(job_id), Done)
    assert (len(legal.told), len(other.told)) == (1, 1)


async def test_a_product_without_the_hook_has_nothing_to_erase(erased, erasures, outbox_of):
    assert isinstance(await outbox_of({None: Nothing()}).run(keys.ERASURE_PREFIX + await erased(None)), Done)
    assert await erasures.kept() == []


async def test_what_a_dead_process_has_begun_is_erased_before_the_product_is_told(
    redis, store, erasures, outbox_of, erased, due, monkeypatch
):
    hooks = Erasing()
    await store.submit(SESSION.turn(0), request(user="ada"))

    async def die(*_: object) -> int:
        raise StoreUnavailable("and here its process dies")

    with monkeypatch.context() as patch:
        patch.setattr(erasures, "wipe", die)
        with pytest.raises(StoreUnavailable):
            await erasures.erase_session(SESSION)
    assert await store.record(SESSION.turn(0)) is not None
    [erasure_id] = await erasures.kept()
    await redis.zadd(keys.OPEN_TURNS, {keys.ERASURE_PREFIX + erasure_id: 0})
    await Sweep(store, erasures._queue, WORKER, erasures).once()
    assert await redis.zscore(keys.QUEUE, keys.ERASURE_PREFIX + erasure_id) is not None
    await due(erasure_id)
    assert isinstance(await outbox_of({None: hooks}).run(keys.ERASURE_PREFIX + erasure_id), Done)
    assert await store.record(SESSION.turn(0)) is None
    assert [erasure.sessions for erasure in hooks.told] == [["demo"]]


async def test_what_was_asked_anew_since_the_erasure_is_left_alone(store, erased, outbox_of):
    job_id = keys.ERASURE_PREFIX + await erased(None)
    await store.submit(SESSION.turn(0), request("anew"))
    assert isinstance(await outbox_of({None: Erasing()}).run(job_id), Done)
    assert await store.record(SESSION.turn(0)) is not None


async def test_the_sweep_forgets_the_job_of_an_erasure_that_is_done(redis, store, queue, erased, erasures):
    erasure_id = await erased(None)
    await erasures.done(erasure_id)
    for name in (keys.QUEUE, keys.job(keys.ERASURE_PREFIX + erasure_id)):
        await redis.delete(name)
    await redis.zadd(keys.OPEN_TURNS, {keys.ERASURE_PREFIX + erasure_id: 0})
    await Sweep(store, queue, WORKER, erasures).once()
    assert await redis.zcard(keys.OPEN_TURNS) == 0


async def test_a_queue_that_was_lost_gets_the_jobs_of_erasures_again(redis, store, queue, erased, erasures):
    erasure_id = await erased(None)
    await redis.delete(keys.OPEN_TURNS, keys.QUEUE)
    await Rebuild(store, queue, erasures).if_needed()
    await redis.zadd(keys.OPEN_TURNS, {keys.ERASURE_PREFIX + erasure_id: 0}, xx=True)
    with grows("worker", "turnwire_sweep_finds_total", kind="erasure"):
        await Sweep(store, queue, WORKER, erasures).once()
    assert await redis.zscore(keys.QUEUE, keys.ERASURE_PREFIX + erasure_id) is not None
    await redis.delete(keys.REBUILDING)


async def test_a_running_turn_is_told_later(store, redis, erased, erasures, outbox_of):
    hooks = Erasing()
    await store.submit(SESSION.turn(0), request())
    await claim(store, SESSION.turn(0))
    receipt = await erasures.erase_session(SESSION)
    assert isinstance(await outbox_of({None: hooks}).run(keys.ERASURE_PREFIX + receipt.id), Again)
    assert hooks.told == []


async def test_an_operator_who_has_the_queue_rebuilt_brings_a_lost_job_back(redis, erased, settings, capsys):
    job_id = keys.ERASURE_PREFIX + await erased(None)
    await redis.delete(keys.job(job_id), keys.QUEUE, keys.OPEN_TURNS)
    assert await rebuild_queue(settings) == 0
    assert "1 jobs that there should be" in capsys.readouterr().out
    assert await redis.zscore(keys.OPEN_TURNS, job_id) is not None
