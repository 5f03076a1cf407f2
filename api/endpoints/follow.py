"""GET …/events: follow a turn from a cursor."""

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from turnwire.api.edge.requests import path_turn, query_text, single
from turnwire.api.endpoints.stream import negotiate, send_tail, silence_s, stream_headers
from turnwire.api.following.encode import SSE
from turnwire.api.following.resume import at_end
from turnwire.api.services import Services
from turnwire.shared.events import Cursor


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
        hub = self._services.hub
        if await at_end(self._services.store, key, after):
            status = 204 if framing is SSE else 200  # only a 204 stops an EventSource from connecting again
            await Response(status_code=status, headers=stream_headers(framing))(scope, receive, send)
            return
        with hub.follow(key, after, idle_s=idle_s) as tail:
            await send_tail(tail, hub.encoder(framing), {}, self._services.settings.stall_s, scope, send)


def wanted_cursor(scope: Scope) -> Cursor | None:
    """The cursor of `?after=`, else that of `Last-Event-ID`; None: follow from the first event.

    Raises:
        BadRequest: not a cursor.
    """
    text = query_text(scope, "after")
    if text is None:
        text = single(Headers(scope=scope), "last-event-id") or None
    return None if text is None else Cursor.parse(text)
