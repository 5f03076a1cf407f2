"""POST …/cancel: stop a turn, whether it waits, runs or has lost its worker."""

from contextlib import suppress
from typing import Annotated

import msgspec
from msgspec import Meta

from turnwire.api.edge.body import ClientGone, read_body
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_turn
from turnwire.api.services import Services
from turnwire.shared.keys import TurnKey

MAX_BODY_BYTES = 4096


class CancelBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a cancel request; it may be left out."""

    reason: Annotated[str, Meta(max_length=500, description="becomes part of the turn's error message")] | None = None


async def cancel_turn(services: Services, exchange: Exchange) -> None:
    """POST /v1/sessions/{session}/turns/{index}/cancel"""
    key = path_turn(exchange)
    with suppress(ClientGone):
        body = await read_body(exchange, MAX_BODY_BYTES, CancelBody, absent=CancelBody())
        ended = await cancel(services, key, body.reason or "")
        record = await services.store.existing(key)
        await exchange.answer_json(record, 200 if ended else 202)


async def cancel(services: Services, key: TurnKey, reason: str) -> bool:
    """Cancel a turn, see to its ledger row, and wake the turn that waited for it. True if it was terminal already.

    Raises:
        NotFound: there is no such turn.
    """
    verdict, next_index = await services.store.cancel(key, reason)
    if verdict == "cancelled":  # a suspended turn has no job; this one publishes its row when it ends
        await services.queue.enqueue(key.run_id, accepted=True)
    if next_index is not None and next_index > key.index:
        await services.queue.enqueue(key.session.turn(next_index).run_id, accepted=True)
    return verdict == "ended"
