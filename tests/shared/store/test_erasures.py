"""Erasures: what is left of a session or of a user in Redis, and what is kept until the product has followed."""

import msgspec
import pytest

from tests.support.turns import KEY, SESSION, WORKER, append, claim, delta, request
from turnwire.shared import keys
from turnwire.shared.errors import NotFound
from turnwire.shared.identity import user_digest
from turnwire.shared.keys import SessionKey, session_key
from turnwire.shared.ledger import decode_row
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.erasures import Erasures
from turnwire.worker.attempt.outcome import Done

USER = 'planted "ada" \\ ü'
OTHER = session_key("other")


@pytest.fixture
def erasures(store, queue):
    return Erasures(store, queue)


@pytest.fixture
def complete(store, queue, erasures):
    """Runs a turn of a user to its end, and publishes its ledger row."""

    async def run(session: SessionKey = SESSION, user: str = USER, index: int = 0) -> None:
        key = session.turn(index)
        await erasures.users.note(session, user)
        await store.submit(key, request(user=user, project="legal"))
        await queue.enqueue(key.run_id)
        [taken], _ = await queue.take(WORKER, 1)
        claimed = await claim(store, key)
        await append(store, claimed, 1, delta("a"))
        settled = await store.settle(claimed, TurnState.COMPLETED, 2, [delta("b")], {})
        await queue.end(WORKER, taken, Done({1: settled.row}).rows)

    return run


async def rows_of(redis) -> list[tuple[str, str | None]]:
    rows = [decode_row(fields[1]) for _, fields in await redis.xrange(keys.LEDGER)]
    return sorted(((row.session_id, row.user) for row in rows), key=str)


async def drop(redis, receipt) -> None:
    """Do what the job of the erasure does."""
    for name in (keys.job(keys.ERASURE_PREFIX + receipt.id), keys.QUEUE, keys.OPEN_TURNS, keys.ERASURES, keys.HINTS):
        await redis.delete(name)
    for name in await redis.keys("turnwire:[tw][ae]*"):  # the line in which the job waited
        await redis.delete(name)


async def test_a_session_leaves_rows_without_its_user_and_nothing_else(redis, erasures, complete, queue):
    await complete()
    await complete(OTHER)
    sums = await queue.usage("default")
    receipt = await erasures.erase_session(SESSION)
    assert (receipt.sessions, receipt.turns, receipt.open_turns, receipt.ledger_rows) == (1, 1, 0, 1)
    assert await rows_of(redis) == [("demo", None), ("other", USER)]
    assert await queue.usage("default") == sums
    assert await erasures.users.of("default", USER) == [OTHER]
    assert not [name for name in await redis.keys("*") if b"{demo}" in name]
    await drop(redis, receipt)


async def test_a_user_is_erased_in_every_session_also_in_rows_of_turns_that_have_expired(redis, erasures, complete):
    await complete()
    await complete(OTHER, "somebody else")
    await complete(OTHER, index=1)
    await complete(session_key("not-hers"), "somebody else")
    await redis.delete(*[name for name in await redis.keys("*:chat:{demo}*") if not name.startswith(b"numbering")])
    receipt = await erasures.erase_user("default", USER)
    assert (receipt.session_id, receipt.user, receipt.sessions, receipt.turns) == (None, USER, 2, 2)
    assert await rows_of(redis) == [
        ("demo", None), ("not-hers", "somebody else"), ("other", "somebody else"), ("other", None),
    ]  # fmt: skip
    assert await erasures.users.of("default", USER) == []
    await drop(redis, receipt)


async def test_a_row_that_is_published_after_the_erasure_names_no_user(redis, store, queue, erasures):
    await store.submit(KEY, request(user=USER))
    await queue.enqueue(KEY.run_id)
    [taken], _ = await queue.take(WORKER, 1)
    settled = await store.settle(await claim(store), TurnState.COMPLETED, 1, [], {})
    receipt = await erasures.erase_session(SESSION)
    await queue.end(WORKER, taken, {1: settled.row})  # its worker had not heard of the erasure
    assert await rows_of(redis) == [("demo", None)]
    await drop(redis, receipt)


async def test_a_turn_asked_anew_after_the_erasure_has_rows_with_its_user(redis, erasures, complete):
    await complete()
    receipt = await erasures.erase_session(SESSION)
    await drop(redis, receipt)
    await complete(user="new")
    assert await rows_of(redis) == [("demo", "new"), ("demo", None)]


async def test_another_tenants_user_of_the_same_name_is_left_alone(redis, erasures, complete):
    await complete(SessionKey("acme", "demo"))
    receipt = await erasures.erase_user("default", USER)
    assert (receipt.sessions, receipt.ledger_rows) == (0, 0)
    assert await rows_of(redis) == [("demo", USER)]
    assert await erasures.users.of("acme", USER) == [SessionKey("acme", "demo")]
    await drop(redis, receipt)


async def test_a_session_that_is_not_there_has_no_receipt(redis, erasures):
    with pytest.raises(NotFound):
        await erasures.erase_session(SESSION)
    assert await redis.keys("*") == []


async def test_no_key_names_a_user_and_the_list_has_its_end(redis, erasures, settings):
    await erasures.users.note(SESSION, USER)
    [name] = await redis.keys("*")
    assert name.decode() == keys.user_sessions("default", user_digest("default", USER))
    assert 0 < await redis.pttl(name) <= settings.session_retention_ms


async def test_a_session_that_was_used_again_stays_on_the_list(erasures):
    await erasures.users.note(SESSION, USER)
    await erasures.users.forget("default", [user_digest("default", USER)], ["demo"], before_ms=1)
    assert await erasures.users.of("default", USER) == [SESSION]


async def test_what_is_kept_is_known_until_it_is_done(redis, erasures, complete, twice):
    await complete()
    receipt = await erasures.erase_session(SESSION)
    begun = await erasures.begin(receipt.id)
    assert begun is not None
    assert (begun.is_erased, begun.tries, begun.wait_ms, begun.requested_at) == (True, 1, 0, receipt.requested_at)
    assert (begun.kept.sessions, begun.kept.projects) == (["demo"], ["legal"])
    assert USER.encode() not in b"".join((await redis.hgetall(keys.ERASURES)).values())
    again = await erasures.begin(receipt.id)
    assert again is not None
    assert again.tries == 1
    assert 1000 < again.wait_ms <= 2000
    await erasures.left(msgspec.structs.replace(begun.kept, projects=["tax"]))
    assert await erasures.kept() == [receipt.id]
    await twice(lambda: erasures.done(receipt.id))
    assert await erasures.begin(receipt.id) is None
    assert not await redis.exists(keys.ERASURES)
    await drop(redis, receipt)


async def test_the_product_is_told_later_if_a_worker_may_be_storing_an_answer(redis, store, erasures, settings):
    await store.submit(KEY, request())
    await claim(store)
    receipt = await erasures.erase_session(SESSION)
    assert receipt.open_turns == 1
    begun = await erasures.begin(receipt.id)
    assert begun is not None
    assert settings.lease_ms < begun.wait_ms <= 2 * settings.lease_ms
    await drop(redis, receipt)
