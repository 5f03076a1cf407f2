"""POST …/signals/{key} sends a turn the signal that it waits for, or will wait for."""

from contextlib import suppress
from typing import Any

import msgspec

from turnwire.api.edge.body import ClientGone, read_body
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_signal, path_turn
from turnwire.api.endpoints.audit import audited
from turnwire.api.services import Services


class SignalBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a signal. Without a body, the payload is null."""

    payload: Any = None


class StoredSignal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The signal that is stored for this key. `timed_out`: the turn had stopped waiting before a signal came."""

    emitted_at: int
    payload: Any = None
    timed_out: bool = False


async def signal_turn(services: Services, exchange: Exchange) -> None:
    """POST /v1/sessions/{session}/turns/{index}/signals/{key}"""
    turn, key = path_turn(exchange), path_signal(exchange)
    with suppress(ClientGone):
        body = await read_body(exchange, exchange.limits.max_body_bytes, SignalBody, absent=SignalBody())
        payload = msgspec.json.encode(body.payload)
        entry = audited(exchange, "signal", turn.session, turn_index=turn.index, signal=key)
        user, limit = exchange.identity.user, exchange.limits.max_signals
        noted = msgspec.json.encode(entry)
        signalled = await services.store.signal(turn, key, payload, limit, user=user, entry=noted)
        if signalled.enqueue:
            await services.queue.enqueue(turn.run_id, accepted=True, lane=signalled.lane)
        await exchange.answer_json(signalled.stored, 202 if signalled.first else 200)
