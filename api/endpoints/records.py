"""GET: a turn's record, now or when it has ended, and the turns of a session."""

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from turnwire.api.edge.accept import JSON, choose
from turnwire.api.edge.requests import joined, path_session, path_turn, query_limit, query_seconds, query_text
from turnwire.api.following.ending import Ending
from turnwire.api.services import Services
from turnwire.shared.errors import NotFound
from turnwire.shared.keys import SessionKey, turn_index
from turnwire.shared.model import TurnRecord

MAX_WAIT_S = 60.0
PAGE_TURNS = 20
MAX_PAGE_TURNS = 100


class TurnList(msgspec.Struct, frozen=True):
    """Some turns of a session by ascending index. `next`: pass it as `after` for those that follow; null at the end."""

    turns: list[TurnRecord]
    next: int | None


class Records:
    """The reading endpoints."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def record(self, request: Request) -> Response:
        """GET /v1/sessions/{session}/turns/{index}"""
        require_json(request)
        key = path_turn(request.scope)
        wait_s = query_seconds(request.scope, "wait", least=0, most=MAX_WAIT_S)
        record = await self._services.store.existing(key)
        if wait_s and not record.terminal:
            with self._services.hub.watch(key) as ending:
                await _wait(ending, wait_s, request.receive)
            record = await self._services.store.existing(key)
        return json_response(record)

    async def turns(self, request: Request) -> Response:
        """GET /v1/sessions/{session}/turns"""
        require_json(request)
        session = path_session(request.scope)
        after = query_text(request.scope, "after")
        limit = query_limit(request.scope, default=PAGE_TURNS, most=MAX_PAGE_TURNS)
        first = 0 if after is None else turn_index(after) + 1
        records = await self._services.store.records(session, first=first, limit=limit + 1)
        if not records and not await self._is_known(session):
            raise NotFound("no such session")
        shown = records[:limit]
        return json_response(TurnList(shown, shown[-1].turn_index if len(records) > limit else None))

    async def _is_known(self, session: SessionKey) -> bool:
        return bool(await self._services.store.records(session, limit=1))


def require_json(request: Request) -> None:
    """Raises:
    NotAcceptable: the client does not take JSON.
    """
    choose(joined(request.headers, "accept"), [JSON])


def json_response(document: msgspec.Struct, status: int = 200) -> Response:
    """A document that no cache may keep."""
    return Response(msgspec.json.encode(document), status, {"content-type": JSON, "cache-control": "no-store"})


async def _wait(ending: Ending, timeout_s: float, receive: Receive) -> None:
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(_stop_when_gone(ending, receive))
        await ending.wait(timeout_s)
        watch.cancel()


async def _stop_when_gone(ending: Ending, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    ending.stop()
