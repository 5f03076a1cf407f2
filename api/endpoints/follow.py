"""GET …/events: follow a turn from a cursor."""

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_turn, query_text, single
from turnwire.api.endpoints.stream import negotiate, send_tail, silence_s, stream_headers
from turnwire.api.following.encode import SSE
from turnwire.api.following.resume import at_end
from turnwire.api.services import Services
from turnwire.shared.events import Cursor


async def follow_turn(services: Services, exchange: Exchange) -> None:
    """GET /v1/sessions/{session}/turns/{index}/events"""
    key = path_turn(exchange)
    framing = negotiate(exchange)
    assert framing is not None
    idle_s = silence_s(exchange, framing)
    after = wanted_cursor(exchange)
    if await at_end(services.store, key, after):
        status = 204 if framing is SSE else 200  # only a 204 stops an EventSource from connecting again
        await exchange.answer(status, stream_headers(framing))
        return
    with services.hub.follow(key, after, idle_s=idle_s) as tail:
        await send_tail(tail, services.hub.encoder(framing), {}, services.settings.stall_s, exchange)


def wanted_cursor(exchange: Exchange) -> Cursor | None:
    """The cursor of `?after=`, else that of `Last-Event-ID`; None: follow from the first event.

    Raises:
        BadRequest: not a cursor.
    """
    text = query_text(exchange, "after")
    if text is None:
        text = single(exchange.headers, "last-event-id") or None
    return None if text is None else Cursor.parse(text)
