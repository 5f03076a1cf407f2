"""GET …/events: follow a turn from a cursor."""

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.encode import SSE
from api.requests import path_turn, query_text, single
from api.services import Services
from api.stream import negotiate, send_tail, silence_s, stream_headers
from shared.errors import BadRequest, CursorGone, NotFound
from shared.events import Cursor
from shared.keys import TurnKey


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
            await send_tail(tail, framing, {}, receive, send)

    async def _at_end(self, key: TurnKey, after: Cursor | None) -> bool:
        """True if nothing can follow the cursor, because it is that of the terminal event.

        Raises:
            NotFound, BadRequest, CursorGone: there is nothing to follow from there.
        """
        store = self._services.store
        record = await store.record(key)
        if record is None:
            raise NotFound("no such turn")
        if after is not None and after.attempt > record.attempt:
            raise BadRequest("this turn has not come to the attempt of that cursor")
        if not record.terminal or await store.read(key, after, 1):
            return False
        if not await store.read(key, None, 1):
            raise CursorGone("the events of this turn were erased")
        assert after is not None
        before = Cursor(after.attempt, after.seq - 1) if after.seq else Cursor(after.attempt - 1, 2**63 - 1)
        last = await store.read(key, before, 1)
        if not last or last[0].id != str(after).encode():
            raise BadRequest("this turn ended before that cursor")
        return True


def wanted_cursor(scope: Scope) -> Cursor | None:
    """`?after=`, else `Last-Event-ID`; None: from the first event.

    Raises:
        BadRequest: not a cursor.
    """
    text = query_text(scope, "after")
    if text is None:
        text = single(Headers(scope=scope), "last-event-id") or None
    return None if text is None else Cursor.parse(text)
