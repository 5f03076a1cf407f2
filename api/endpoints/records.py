"""Answers GET with a turn's record, now or when the turn has ended, and with the turns of a session."""

import asyncio

import msgspec
from starlette.types import Receive

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import (
    path_session,
    path_turn,
    query_limit,
    query_seconds,
    query_text,
    require_json,
)
from turnwire.api.following.ending import EndWaiter
from turnwire.api.services import Services
from turnwire.shared.errors import NotFound
from turnwire.shared.given_names import turn_index
from turnwire.shared.model import TurnRecord

MAX_WAIT_S = 60.0  # that a client may ask for
HELD_S = 45.0  # for which a request is held at most: common proxies end it after 50 or 60 s of silence
PAGE_TURNS = 20
MAX_PAGE_TURNS = 100


class TurnList(msgspec.Struct, frozen=True):
    """Some turns of a session by ascending index. `next`: the `after` of the next page; null on the last one."""

    turns: list[TurnRecord]
    next: int | None


async def get_turn(services: Services, exchange: Exchange) -> None:
    """GET /v1/sessions/{session}/turns/{index}"""
    require_json(exchange)
    key = path_turn(exchange)
    wait_s = query_seconds(exchange, "wait", least=0, most=MAX_WAIT_S)
    record = await services.store.existing(key)
    if wait_s and not record.terminal:
        with services.tails.one_more(exchange.identity.tenant, exchange.limits), services.hub.watch(key) as ending:
            await _wait(ending, min(wait_s, HELD_S), exchange.receive)
        record = await services.store.existing(key)
    await exchange.answer_json(record)


async def list_turns(services: Services, exchange: Exchange) -> None:
    """GET /v1/sessions/{session}/turns"""
    require_json(exchange)
    session = path_session(exchange)
    after = query_text(exchange, "after")
    limit = query_limit(exchange, default=PAGE_TURNS, most=MAX_PAGE_TURNS)
    first = 0 if after is None else turn_index(after) + 1
    records = await services.store.records(session, first=first, limit=limit + 1)
    if not records and not await services.store.records(session, limit=1):
        raise NotFound("no such session")
    shown = records[:limit]
    await exchange.answer_json(TurnList(shown, shown[-1].turn_index if len(records) > limit else None))


async def _wait(ending: EndWaiter, timeout_s: float, receive: Receive) -> None:
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(_stop_when_gone(ending, receive))
        await ending.wait(timeout_s)
        watch.cancel()


async def _stop_when_gone(ending: EndWaiter, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    ending.stop()
