"""For operators: the turns of all tenants, and everything about one of them."""

from functools import partial
from typing import get_args

import msgspec

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_run_id, query_limit, query_name, query_seconds, query_text, require_json
from turnwire.api.services import Services
from turnwire.shared.errors import BadRequest
from turnwire.shared.store.turn_list import State, TurnFilter, TurnList
from turnwire.shared.store.turn_places import Place
from turnwire.shared.store.turn_rows import TurnRow
from turnwire.shared.store.turn_story import TurnStories

PAGE_ROWS = 100
MAX_PAGE_ROWS = 500
LONGEST_S = 999_999.0


class FoundTurns(msgspec.Struct, frozen=True):
    """Some of the turns, newest first. With a filter, a page may hold fewer turns than `limit`, or none.

    `now`: Redis time, ms. `next`: the `after` of the next page; null on the last one.
    """

    now: int
    turns: list[TurnRow]
    next: str | None


async def find_turns(services: Services, exchange: Exchange) -> None:
    """GET /v1/admin/turns"""
    require_json(exchange)
    limit = query_limit(exchange, default=PAGE_ROWS, most=MAX_PAGE_ROWS)
    after = query_text(exchange, "after")
    place = None if after is None else Place.parse(after)
    found = await TurnList(services.store, services.queue).page(_filter(exchange), place, limit)
    following = None if found.next is None else str(found.next)
    await exchange.answer_json(FoundTurns(found.now_ms, found.rows, following))


async def get_story(services: Services, exchange: Exchange) -> None:
    """GET /v1/admin/turns/{run_id}"""
    require_json(exchange)
    await exchange.answer_json(await TurnStories(services.store, services.queue).read(path_run_id(exchange)))


def _filter(exchange: Exchange) -> TurnFilter:
    named = partial(query_name, exchange)
    state = query_text(exchange, "state")
    if state is not None and state not in get_args(State):
        raise BadRequest("state must be one of: " + ", ".join(get_args(State)))
    older_than_s = query_seconds(exchange, "older_than_s", least=0, most=LONGEST_S)
    return TurnFilter(
        state=None if state is None else msgspec.convert(state, State),
        tenant=named("tenant"),
        session=named("session"),
        project=named("project"),
        worker=named("worker"),
        text=named("q"),
        older_than_ms=round((older_than_s or 0) * 1000),
    )
