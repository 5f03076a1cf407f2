"""GET …/events of a session tells how its turns come and go, so that several devices see the same."""

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_session, resumed_after
from turnwire.api.endpoints.stream import is_sse, negotiate, send_tail, silence_s
from turnwire.api.following.change import ChangeCursor
from turnwire.api.services import Services
from turnwire.shared.errors import StoreUnavailable


async def follow_session(services: Services, exchange: Exchange) -> None:
    """GET /v1/sessions/{session}/events"""
    session = path_session(exchange)
    framing = negotiate(exchange)
    assert framing is not None
    idle_s = silence_s(exchange, framing)
    after = wanted_change(exchange)
    with (
        services.tails.one_more(exchange.identity.tenant, exchange.limits),
        services.feeds.follow(session, after, idle_s=idle_s) as follower,
    ):
        try:
            await follower.started
        except StoreUnavailable:
            if not is_sse(framing):
                raise
            # an EventSource gives up for ever at a status of 503, so it waits until the store answers
        await send_tail(follower, services.hub.encoder(framing), {}, services.settings.stall_s, exchange)


def wanted_change(exchange: Exchange) -> ChangeCursor | None:
    """Return the cursor of `?after=`, or else of `Last-Event-ID`; None: the client knows nothing of the session.

    Raises:
        BadRequest: the text is not the id of an event of a session.
    """
    text = resumed_after(exchange)
    return None if text is None else ChangeCursor.parse(text)
