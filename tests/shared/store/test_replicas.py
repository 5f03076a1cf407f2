"""With TURNWIRE_REDIS_REPLICAS, what a client was told survives the loss of the primary."""

import pytest

from tests.support.turns import KEY, SESSION, WORKER, append, claim, delta, request, step
from turnwire.shared.channels import ENDED
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.events import RUN_FAILED, encode_event
from turnwire.shared.keys import AUDIT
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import ANSWER, TRANSFORM, Ended
from turnwire.shared.settings import Settings
from turnwire.shared.store.audit import Audit, AuditEntry
from turnwire.shared.store.turns import TurnStore


@pytest.fixture
def stores(pair, pair_client):
    """Return a function that makes a store which waits for this number of replicas."""
    return lambda replicas: TurnStore(pair_client, Settings(redis_url=pair.url, lease_ms=3000, redis_replicas=replicas))


async def test_an_accepted_turn_a_signal_and_an_end_are_on_the_replica(stores, pair):
    store = stores(1)
    await store.submit(KEY, request())
    assert await pair.order(pair.second, "HGET", KEY.record, "status") == b"queued"
    await store.signal(KEY, "go", b"1")
    assert await pair.order(pair.second, "HEXISTS", KEY.signals, "go")
    await store.settle(await claim(store), TurnState.COMPLETED, 1, [delta("a")], {})
    assert await pair.order(pair.second, "HGET", KEY.record, "status") == b"completed"


async def test_what_no_replica_has_is_not_accepted_and_may_be_repeated(stores, pair):
    store = stores(1)
    audit = Audit(store.redis, store.settings)
    entry = AuditEntry(action="token", tenant_id="acme", key="backend")
    await audit.note(entry)
    assert await pair.order(pair.second, "XLEN", AUDIT) == 1
    await pair.synced()
    pair.link.set("hold")
    with pytest.raises(StoreUnavailable):
        await store.submit(KEY, request())
    with pytest.raises(StoreUnavailable):  # a deed waits for its entry
        await audit.note(entry)
    pair.link.set("pass")
    assert (await store.submit(KEY, request())).verdict == "attached"


@pytest.fixture
async def heard(pair_client):
    """The messages on the turn's channel."""
    async with pair_client.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(KEY.events)
        await channel.get_message(timeout=5)
        yield lambda: channel.get_message(timeout=0.5)


async def test_readers_hear_of_an_end_only_when_the_replica_has_it(stores, pair, heard):
    """Otherwise a failover could take the end back, and the turn would run again."""
    store = stores(1)
    await store.submit(KEY, request())
    claimed = await claim(store)
    assert b"session.run.started" in (await heard())["data"]
    await pair.synced()
    pair.link.set("hold")
    with pytest.raises(StoreUnavailable):
        await store.settle(claimed, TurnState.COMPLETED, 1, [delta("a")], {})
    assert await heard() is None
    pair.link.set("pass")
    await store.settle(claimed, TurnState.COMPLETED, 1, [delta("a")], {})
    assert (await heard())["data"] == ENDED


async def test_nobody_reads_an_end_before_the_replica_has_it(stores, pair):
    """In the first second of an ordered failover, the old primary takes an end that no replica will have."""
    store = stores(1)
    await store.submit(KEY, request())
    claimed = await claim(store)
    await append(store, claimed, 1, delta("a"))
    await pair.synced()
    assert len(await store.read(KEY, None)) == 2
    pair.link.set("hold")
    with pytest.raises(StoreUnavailable):
        await store.settle(claimed, TurnState.FAILED, 2, [encode_event(RUN_FAILED, {"code": "x"})], {})
    with pytest.raises(StoreUnavailable):
        await store.read(KEY, None)
    with pytest.raises(StoreUnavailable):  # who follows the session must not hear of it either
        await store.look(SESSION)
    assert len(await store.read(KEY, None, 2)) == 2
    pair.link.set("pass")
    assert len(await store.read(KEY, None)) == 3
    found = await store.look(SESSION)
    assert found is not None
    assert found.turns[0].status == "failed"


async def test_readers_hear_of_a_cancel_only_when_the_replica_has_it(stores, pair, heard):
    store = stores(1)
    await store.submit(KEY, request())
    await pair.synced()
    pair.link.set("hold")
    with pytest.raises(StoreUnavailable):
        await store.cancel(KEY)
    assert await heard() is None
    pair.link.set("pass")
    await store.cancel(KEY)
    assert (await heard())["data"] == ENDED


async def test_readers_hear_of_used_up_attempts_only_when_the_replica_has_the_end(stores, pair, heard):
    store = stores(1)
    await store.submit(KEY, request())
    for _ in range(store.settings.max_attempts):
        await pair.order(pair.first, "DEL", KEY.lease)
        await claim(store)
    while message := await heard():
        assert b"session.run.failed" not in message["data"]
    await pair.order(pair.first, "DEL", KEY.lease)
    await pair.synced()
    pair.link.set("hold")
    with pytest.raises(StoreUnavailable):
        await store.claim(KEY, WORKER, company=1)
    while message := await heard():
        assert b"session.run.failed" not in message["data"]
    pair.link.set("pass")
    assert isinstance(await store.claim(KEY, WORKER, company=1), Ended)
    assert (await heard())["data"] == ENDED


@pytest.mark.parametrize("intent", [ANSWER, TRANSFORM])
async def test_the_text_that_a_product_is_about_to_keep_is_on_the_replica_before(intent, stores, pair):
    """Otherwise a failover could lose it, and the next attempt would make a text that the product's store lacks."""
    store = stores(1)
    await store.submit(KEY, request())
    claimed = await claim(store)
    await store.checkpoint(claimed, step(0, "1-0", intent))
    assert await pair.order(pair.second, "HEXISTS", KEY.steps, "0")
    pair.link.set("hold")
    with pytest.raises(StoreUnavailable):
        await store.checkpoint(claimed, step(1, "1-0", intent))


async def test_events_and_other_steps_do_not_wait_for_a_replica(stores, pair):
    store = stores(1)
    await store.submit(KEY, request())
    pair.link.set("hold")
    claimed = await claim(store)
    await append(store, claimed, 1, delta("a"))
    await store.checkpoint(claimed, step(0, "1-1"))


async def test_more_replicas_than_there_are_refuse_everything_new(stores):
    with pytest.raises(StoreUnavailable):
        await stores(2).submit(KEY, request())


async def test_without_the_setting_nobody_waits(stores, pair):
    await stores(0).submit(KEY, request())
    stats = await pair.order(pair.first, "INFO", "commandstats")
    assert "cmdstat_wait" not in stats
