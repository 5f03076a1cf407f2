"""POST …/cancel stops a turn, whether it waits, runs or has lost its worker."""

from contextlib import suppress
from typing import Annotated

import msgspec
from msgspec import Meta

from turnwire.api.edge.body import ClientGone, read_body
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_turn
from turnwire.api.endpoints.audit import audited
from turnwire.api.services import Services
from turnwire.shared.replies import CancelVerdict

MAX_BODY_BYTES = 4096


class CancelBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a cancel request; it may be left out."""

    reason: Annotated[str, Meta(max_length=500, description="becomes part of the turn's error message")] | None = None


async def cancel_turn(services: Services, exchange: Exchange) -> None:
    """POST /v1/sessions/{session}/turns/{index}/cancel"""
    key = path_turn(exchange)
    with suppress(ClientGone):
        body = await read_body(exchange, MAX_BODY_BYTES, CancelBody, absent=CancelBody())
        await services.audit.note(audited(exchange, "cancel", key.session, turn_index=key.index))
        verdict = await services.cancels.cancel(key, body.reason or "", user=exchange.identity.user)
        record = await services.store.existing(key)
        await exchange.answer_json(record, 200 if verdict is CancelVerdict.ENDED else 202)
