"""An erasure finds the ledger rows that name its user without a look at those of everybody else."""

import pytest

from tests.support.turns import WORKER
from turnwire.shared import keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.ledger import decode_row
from turnwire.shared.settings import Settings
from turnwire.shared.store import named_rows
from turnwire.shared.store.named_rows import NamedRows, named_rows_key
from turnwire.shared.store.queue import Taken

ADA, BOB = SessionKey("default", "of-ada"), SessionKey("default", "of-bob")
ROW = (
    '{{"attempt":1,"turn_created_at":1,"partial":false,"model_calls":1,"tokens_in":1,"tokens_out":1,"cost_nanos":1,'
    '"currency":null,"price_version":null,"model_called":null,"first_event_ms":1,"first_token_ms":1,'
    '"run_id":"{run_id}","session_id":"{session}","tenant_id":"default","outcome":"completed","code":null,'
    '"project":null,"user":{user},"model":null,"turn_index":0,"started_at":1,"ended_at":2,"wall_ms":1}}'
)


def row_of(session: SessionKey, index: int, user: str | None) -> bytes:
    named = "null" if user is None else f'"{user}"'
    return ROW.format(run_id=session.turn(index).run_id, session=session.session, user=named).encode()


@pytest.fixture
def publish(queue):
    async def run(session: SessionKey, index: int = 0, user: str | None = "ada") -> None:
        await queue.end(WORKER, Taken(session.turn(index).run_id, b""), {1: row_of(session, index, user)})

    return run


@pytest.fixture
def looked_at(monkeypatch):
    """How many entries of the stream the scripts may have looked at."""
    looked: list[str] = []
    for name in ("UNNAME_ROWS", "UNNAME_SESSION"):
        script = getattr(named_rows, name)

        async def counted(courier, names, args, name=name, script=script):
            looked.append(name)
            return await script(courier, names, args)

        monkeypatch.setattr(named_rows, name, counted)
    return looked


@pytest.fixture
def rows(queue, settings):
    return NamedRows(queue.redis, settings)


async def users(redis) -> list[str | None]:
    return [decode_row(fields[1]).user for _, fields in await redis.xrange(keys.LEDGER)]


async def old_row(redis, session: SessionKey, index: int = 0, user: str = "ada", at: str = "*") -> None:
    """Publish a row as a version without indexes does."""
    await redis.xadd(keys.LEDGER, {"row": row_of(session, index, user)}, id=at)


async def test_the_rows_of_others_are_not_looked_at(redis, rows, publish, looked_at):
    for index in range(7):
        await publish(BOB, index, "bob")
    await publish(ADA)
    assert await redis.hget(keys.ROW_INDEX, "until") == b"0-0"
    assert await rows.unname("default", ["of-ada"], "ada", 0) == 1
    assert looked_at == ["UNNAME_SESSION", "UNNAME_ROWS"]  # and the latter looked at what is older than the first row
    assert await users(redis) == ["bob"] * 7 + [None]
    assert await redis.exists(named_rows_key(ADA)) == 0
    assert await redis.zcard(named_rows_key(BOB)) == 7


async def test_an_erased_session_names_nobody_in_all_pages(redis, rows, publish, monkeypatch):
    monkeypatch.setattr(named_rows, "PAGE_ROWS", 2)
    for index in range(5):
        await publish(ADA, index, "ada" if index % 2 else "bob")
    assert await rows.unname("default", ["of-ada"], "ada", 0) == 2
    assert await users(redis) == ["bob"] * 3 + [None] * 2
    assert await rows.unname("default", ["of-ada"], "", 0) == 3
    assert await users(redis) == [None] * 5


async def test_rows_of_a_version_without_indexes_are_found(redis, rows, publish):
    await old_row(redis, ADA)
    await publish(ADA, 1)
    await old_row(redis, BOB, user="ada")
    await publish(ADA, 2)
    assert await rows.unname("default", ["of-ada"], "ada", 0) == 4
    assert await users(redis) == [None] * 4
    await old_row(redis, ADA, 3)
    assert await rows.unname("default", ["of-ada"], "ada", 0) == 1


async def test_rows_that_are_older_than_indexes_are_kept_are_found(redis, queue, publish):
    await redis.xadd(keys.LEDGER, {"row": row_of(ADA, 0, "ada")}, id="1000-1")
    await redis.hset(keys.ROW_INDEX, mapping={"last": "1000-1", "until": "0-0"})  # its index has expired
    await publish(BOB, user="bob")
    rows = NamedRows(queue.redis, Settings(session_retention_s=86_400))
    assert await rows.unname("default", ["of-ada"], "ada", 0) == 1
    assert await users(redis) == ["bob", None]


async def test_a_row_without_a_user_is_in_no_index(redis, rows, publish):
    await publish(ADA, 0, None)
    assert await redis.exists(named_rows_key(ADA), keys.ROW_INDEX) == 0
    await publish(ADA, 1)
    await publish(ADA, 2, None)
    assert await redis.zcard(named_rows_key(ADA)) == 1
    assert await rows.unname("default", ["of-ada"], "ada", 0) == 1
    [first, *_] = await redis.xrange(keys.LEDGER)
    assert await redis.hget(keys.ROW_INDEX, "until") == first[0]


async def test_an_index_ends(redis, publish, settings):
    await publish(ADA)
    assert 0 < await redis.pttl(named_rows_key(ADA)) <= settings.session_retention_ms


async def test_an_index_does_not_outgrow_the_stream(redis, publish, queue):
    await redis.zadd(named_rows_key(ADA), {"5-0": 5, "6-0": 6})  # rows that the stream has dropped
    index = 0
    while await redis.zscore(named_rows_key(ADA), "5-0"):
        await publish(ADA, index)
        index += 1
    assert await redis.zcard(named_rows_key(ADA)) == index
