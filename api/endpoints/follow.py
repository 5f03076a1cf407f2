"""GET …/events: follow a turn from a cursor."""

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from turnwire.api.edge.requests import path_turn, query_text, single
from turnwire.api.endpoints.stream import negotiate, send_tail, silence_s, stream_headers
from turnwire.api.following.encode import SSE, event_type
from turnwire.api.services import Services
from turnwire.shared.errors import BadRequest, CursorGone, NotFound, TurnwireError
from turnwire.shared.events import RUN_RESUMED, Cursor, Entry
from turnwire.shared.keys import TurnKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import TurnRecord

MAX_SEQ = 2**63 - 1


class Events:
    """The following endpoint, as an ASGI application."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def get(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /v1/sessions/{session}/turns/{index}/events"""
        key = path_turn(scope)
        framing = negotiate(scope)
        assert framing is not None
        idle_s = silence_s(scope, framing)
        after = wanted_cursor(scope)
        if await self._at_end(key, after):
            status = 204 if framing is SSE else 200  # after a 200 an EventSource would go on connecting
            await Response(status_code=status, headers=stream_headers(framing))(scope, receive, send)
            return
        with self._services.hub.follow(key, after, idle_s=idle_s) as tail:
            await send_tail(tail, framing, {}, self._services.settings.stall_s, scope, send)

    async def _at_end(self, key: TurnKey, after: Cursor | None) -> bool:
        """True if nothing can follow the cursor, because it is that of the terminal event.

        Raises:
            NotFound, BadRequest, CursorGone: there is nothing to follow from there.
        """
        while True:
            record = await self._services.store.record(key)
            if record is None:
                raise NotFound("no such turn")
            try:
                return await self._look(key, record, after)
            except (BadRequest, CursorGone):
                # a takeover or a new request between two reads makes a good cursor look like a bad one
                if await self._services.store.record(key) == record:
                    raise

    async def _look(self, key: TurnKey, record: TurnRecord, after: Cursor | None) -> bool:
        if after is None and not record.terminal:
            return False
        if after is not None and after.attempt > record.attempt:
            raise BadRequest("this turn has not come to the attempt of that cursor")
        following = await self._services.store.read(key, after, 1)
        if following:
            if not continues(after, following[0]):
                raise CursorGone("what followed that event was erased: read the turn from its start")
            return False
        if record.terminal:
            if after is None or not await self._services.store.read(key, None, 1):
                raise CursorGone("the events of this turn were erased")
            await self._require(key, after, BadRequest("this turn ended before that cursor"))
            return True
        # while it is queued, events of its attempt may have been discarded: their cursors go on to be good
        if after and after.attempt == record.attempt and record.status != TurnState.QUEUED:
            await self._require(key, after, CursorGone("this turn has no such event: read it from its start"))
        return False

    async def _require(self, key: TurnKey, cursor: Cursor, error: TurnwireError) -> None:
        before = Cursor(cursor.attempt, cursor.seq - 1) if cursor.seq else Cursor(cursor.attempt - 1, MAX_SEQ)
        found = await self._services.store.read(key, before, 1)
        if not found or found[0].id != str(cursor).encode():
            raise error


class _Rewind(msgspec.Struct):
    after: str


class _Resumed(msgspec.Struct):
    data: _Rewind


def continues(cursor: Cursor | None, entry: Entry) -> bool:
    """True if a reader at the cursor misses nothing before this event.

    It is the next one of the same attempt, or tells the reader to drop what it got after an earlier place.
    """
    place = Cursor.parse(entry.id.decode())
    if cursor is None:
        return place.seq == 0
    if place == Cursor(cursor.attempt, cursor.seq + 1):
        return True
    if event_type(entry.event) != RUN_RESUMED.encode():
        return False
    return Cursor.parse(msgspec.json.decode(entry.event, type=_Resumed).data.after) <= cursor


def wanted_cursor(scope: Scope) -> Cursor | None:
    """`?after=`, else `Last-Event-ID`; None: from the first event.

    Raises:
        BadRequest: not a cursor.
    """
    text = query_text(scope, "after")
    if text is None:
        text = single(Headers(scope=scope), "last-event-id") or None
    return None if text is None else Cursor.parse(text)
