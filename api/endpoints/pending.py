"""For operators: what the service has still to do."""

import re

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from turnwire.api.edge.requests import query_limit, query_text
from turnwire.api.endpoints.records import MAX_PAGE_TURNS, PAGE_TURNS, json_response, require_json
from turnwire.api.services import Services
from turnwire.shared.errors import BadRequest
from turnwire.shared.keys import TurnKey


class PendingTurn(msgspec.Struct, frozen=True):
    """A turn that has ended, but whose answer the product has not stored yet. Times are Redis time, ms.

    `tries` counts those of the outbox; the turn itself had tried before. `next_try_at`: when the next one is due, or,
    while one is running, when its claim ends.
    """

    run_id: str
    tenant_id: str
    session_id: str
    turn_index: int
    since: int
    tries: int
    next_try_at: int | None


class PendingList(msgspec.Struct, frozen=True):
    """`count`: of all; `turns`: some, oldest first. `next`: pass it as `after` for those that follow; null: none do."""

    count: int
    turns: list[PendingTurn]
    next: str | None


class Admin:
    """The operators' endpoints."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def persist(self, request: Request) -> Response:
        """GET /v1/admin/persist"""
        require_json(request)
        after_us = _after(query_text(request.scope, "after"))
        limit = query_limit(request.scope, default=PAGE_TURNS, most=MAX_PAGE_TURNS)
        count, found = await self._services.queue.pending(after_us, limit + 1)
        shown = found[:limit]
        turns = [TurnKey.parse(pending.run_id) for pending in shown]
        tries = await self._services.store.persist_tries(turns)
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
        return json_response(PendingList(count, listed, str(shown[-1].since_us) if len(found) > limit else None))


def _after(text: str | None) -> int:
    if text is None:
        return 0
    if re.fullmatch(r"[0-9]{1,16}", text, re.ASCII):
        return int(text)
    raise BadRequest("after is what an earlier page gave as next")
