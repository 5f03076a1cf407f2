"""Which cursors the API accepts, and what may happen between two reads of a turn."""

import asyncio
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from tests.support.observed import Observed
from tests.support.turns import KEY, append, delta, submit_and_claim, take_over
from turnwire.api.following.hub import Hub
from turnwire.api.following.resume import at_end, continues
from turnwire.shared.errors import CursorGone
from turnwire.shared.events import Cursor, Entry
from turnwire.shared.store.connect import connect_listener
from turnwire.shared.store.turns import TurnStore

RESUMED = b'{"type":"session.run.resumed","data":{"attempt":3,"after":"%b","reason":"lease_expired"}}'


@pytest.mark.parametrize(
    ("cursor", "entry", "follows"),
    [
        (None, Entry(b"1-0", delta("a")), True),
        (None, Entry(b"1-4", delta("a")), False),  # the start of the log was trimmed
        (Cursor(1, 3), Entry(b"1-4", delta("a")), True),
        (Cursor(1, 3), Entry(b"1-5", delta("a")), False),
        (Cursor(1, 3), Entry(b"2-4", delta("a")), False),  # the rewind of attempt 2 was trimmed
        (Cursor(1, 3), Entry(b"3-3", RESUMED % b"1-2"), True),
        (Cursor(1, 3), Entry(b"3-4", RESUMED % b"1-3"), True),
        (
            Cursor(1, 3),
            Entry(b"3-9", RESUMED % b"2-8"),
            False,
        ),  # a part of attempt 2 that the reader should have seen was trimmed
    ],
)
def test_what_a_reader_at_a_cursor_may_get_next(cursor: Cursor | None, entry: Entry, follows: bool):
    assert continues(cursor, entry) is follows


@pytest.mark.parametrize("ended", [False, True])
async def test_a_trimmed_cursor_is_gone_and_a_later_one_is_good(service: Observed, ended: bool):
    turn = await service.turn(f"trimmed-{ended}")
    await turn.say(*"abcdefgh")
    if ended:
        await turn.end()
    await service.redis.xtrim(turn.key.events, minid="1-5", approximate=False)
    async with httpx.AsyncClient(base_url=service.url, trust_env=False) as client:
        for cursor in ("1-0", "1-1", "1-3"):
            gone = await client.get(turn.events, params={"after": cursor})
            assert (gone.status_code, gone.json()["code"]) == (410, "cursor_gone")
        async with client.stream("GET", turn.events, params={"after": "1-4"}) as rest:
            assert '"id":"1-5"' in await anext(rest.aiter_lines())


async def test_cursors_of_another_turn_are_refused(service: Observed):
    turn = await service.turn("foreign")
    await turn.say(*"abc")
    async with httpx.AsyncClient(base_url=service.url, trust_env=False) as client:
        for cursor, status in {"2-4": 400, "1-4": 410, "7-0": 400}.items():
            assert (await client.get(turn.events, params={"after": cursor})).status_code == status
        await turn.end()
        for cursor, status in {"2-4": 400, "1-5": 400, "7-0": 400}.items():
            assert (await client.get(turn.events, params={"after": cursor})).status_code == status


class Meanwhile:
    """A store in which something happens between two reads of the log."""

    def __init__(self, store: TurnStore, happens: Any) -> None:
        self._store = store
        self._happens = happens

    async def record(self, *args: Any) -> Any:
        return await self._store.record(*args)

    async def existing(self, *args: Any) -> Any:
        return await self._store.existing(*args)

    async def read(self, *args: Any) -> Any:
        entries = await self._store.read(*args)
        if self._happens:
            happens, self._happens = self._happens, None
            await happens()
        return entries


async def test_a_takeover_between_two_looks_makes_no_good_cursor_gone(redis: ArqRedis, store: TurnStore):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, *(delta(text) for text in "abc"))

    async def takeover() -> None:  # a takeover that deletes the event of the cursor
        await take_over(store)

    meanwhile: Any = Meanwhile(store, takeover)
    assert await at_end(meanwhile, KEY, Cursor(1, 3)) is False


async def test_a_cursor_that_stays_gone_is_refused(store: TurnStore):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, delta("a"))
    with pytest.raises(CursorGone):
        await at_end(store, KEY, Cursor(1, 2))


async def test_an_event_whose_publication_was_lost_comes_after_a_silence(
    redis: ArqRedis, redis_url: str, store: TurnStore
):
    await submit_and_claim(store)
    async with Hub(connect_listener(redis_url), store, silence_s=0.05) as hub, asyncio.timeout(20):
        with hub.follow(KEY, None) as tail:
            assert [entry.id for entry in await anext(tail)] == [b"1-0"]
            await redis.xadd(KEY.events, {"e": delta("unheard")}, id="1-1")
            assert [entry.id for entry in await anext(tail)] == [b"1-1"]
