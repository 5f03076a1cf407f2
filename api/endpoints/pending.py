"""Lists, for operators, the answers that the products have not stored yet, and the callbacks that were not made yet."""

import re
from collections.abc import Awaitable, Callable

import msgspec

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import query_limit, query_text, require_json
from turnwire.api.endpoints.records import MAX_PAGE_TURNS, PAGE_TURNS
from turnwire.api.services import Services
from turnwire.shared import keys
from turnwire.shared.errors import BadRequest
from turnwire.shared.keys import TurnKey


class PendingTurn(msgspec.Struct, frozen=True):
    """A turn whose answer or callback waits. Times are in ms of Redis time.

    `since`: since when it waits. `tries`: how often it was tried. `next_try_at`: when the next try is due; during a
    try, when the claim of its job ends.
    """

    run_id: str
    tenant_id: str
    session_id: str
    turn_index: int
    since: int
    tries: int
    next_try_at: int | None


class PendingList(msgspec.Struct, frozen=True):
    """One page of the pending turns, oldest first.

    `count`: how many turns are pending in all. `next`: the `after` of the next page; null on the last one.
    """

    count: int
    turns: list[PendingTurn]
    next: str | None


async def list_pending(services: Services, exchange: Exchange) -> None:
    """GET /v1/admin/persist"""
    await _list(services, exchange, keys.PENDING, services.store.persist_tries)


async def list_callbacks(services: Services, exchange: Exchange) -> None:
    """GET /v1/admin/callbacks"""
    await _list(services, exchange, keys.CALLBACKS, services.callbacks.tries)


async def _list(
    services: Services, exchange: Exchange, pending_key: str, tries_of: Callable[[list[TurnKey]], Awaitable[list[int]]]
) -> None:
    require_json(exchange)
    after_us = _after(query_text(exchange, "after"))
    limit = query_limit(exchange, default=PAGE_TURNS, most=MAX_PAGE_TURNS)
    count, found = await services.queue.pending(after_us, limit + 1, pending_key)
    shown = found[:limit]
    turns = [TurnKey.parse(pending.run_id) for pending in shown]
    tries = await tries_of(turns)
    listed = [
        PendingTurn(
            run_id=pending.run_id,
            tenant_id=turn.session.tenant,
            session_id=turn.session.session,
            turn_index=turn.index,
            since=pending.since_us // 1000,
            tries=tried,
            next_try_at=pending.next_try_ms,
        )
        for pending, turn, tried in zip(shown, turns, tries, strict=True)
    ]
    next_page = str(shown[-1].since_us) if len(found) > limit else None
    await exchange.answer_json(PendingList(count, listed, next_page))


def _after(text: str | None) -> int:
    if text is None:
        return 0
    if re.fullmatch(r"[0-9]{1,16}", text, re.ASCII):
        return int(text)
    raise BadRequest("after must be the `next` of an earlier page")
