"""GET …/events streams a turn's events from a cursor on."""

import asyncio
from contextlib import suppress
from typing import Final

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_turn, resumed_after
from turnwire.api.endpoints.stream import (
    is_sse,
    last_words,
    negotiate,
    send_tail,
    silence_s,
    start_of_stream,
    stream_headers,
)
from turnwire.api.following.encode import Framing
from turnwire.api.following.resume import at_end
from turnwire.api.services import Services
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.events import Cursor
from turnwire.shared.keys import TurnKey

LOOK_AGAIN_S: Final = 0.5  # while the store is away


async def follow_turn(services: Services, exchange: Exchange) -> None:
    """GET /v1/sessions/{session}/turns/{index}/events"""
    key = path_turn(exchange)
    framing = negotiate(exchange)
    assert framing is not None
    idle_s = silence_s(exchange, framing)
    after = wanted_cursor(exchange)
    try:
        nothing_follows = await at_end(services.store, key, after)
    except StoreUnavailable:
        if not is_sse(framing):
            raise
        with services.tails.one_more(exchange.identity.tenant, exchange.limits):
            await _hold(services, key, after, framing, exchange)
        return
    if nothing_follows:
        status = 204 if is_sse(framing) else 200  # only a 204 stops an EventSource from connecting again
        await exchange.answer(status, stream_headers(framing))
        return
    with (
        services.tails.one_more(exchange.identity.tenant, exchange.limits),
        services.hub.follow(key, after, idle_s=idle_s) as tail,
    ):
        await send_tail(tail, services.hub.encoder(framing), {}, services.settings.stall_s, exchange)


def wanted_cursor(exchange: Exchange) -> Cursor | None:
    """Return the cursor of `?after=`, or else of `Last-Event-ID`; None: the client wants the first event, too.

    Raises:
        BadRequest: the text is not a cursor.
    """
    text = resumed_after(exchange)
    return None if text is None else Cursor.parse(text)


async def _hold(
    services: Services, key: TurnKey, after: Cursor | None, framing: Framing, exchange: Exchange
) -> None:  # fmt: skip
    """Keep an EventSource while the store is away. End its stream when the store answers, or its credentials end.

    An EventSource gives up for ever at a status of 503. When a stream ends, it connects again, at its cursor.
    """
    ended = list[str]()
    await exchange.send(start_of_stream(framing, {}))
    await exchange.send({"type": "http.response.body", "body": framing.opening + framing.silence, "more_body": True})
    with exchange.while_valid(ended.append):
        while not services.draining and not ended and not await _left(exchange):
            with suppress(StoreUnavailable):
                await services.store.record(key)
                break
    last = last_words(framing, ended[0], after) if ended else b""
    await exchange.send({"type": "http.response.body", "body": last})


async def _left(exchange: Exchange) -> bool:
    """Wait for a moment. True if the client left meanwhile."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_AGAIN_S):
            while (await exchange.receive())["type"] != "http.disconnect":
                pass
            return True
    return False
