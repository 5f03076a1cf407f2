"""POST: accept a turn, then stream it, or say where it is.

Rule: the client is answered only after the turn stands in the store and in the queue.
"""

from contextlib import suppress
from typing import NamedTuple

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from turnwire.api.edge.accept import wants_async
from turnwire.api.edge.body import Asked, ClientGone, read_turn
from turnwire.api.edge.requests import idempotency_key, joined, path_session, path_turn
from turnwire.api.endpoints.cancel import cancel
from turnwire.api.endpoints.intake import Accepted, Intake
from turnwire.api.endpoints.stream import negotiate, send_events, send_tail, silence_s
from turnwire.api.following.encode import Framing
from turnwire.api.services import Services
from turnwire.shared.events import RESULT, RUN_COMPLETED, RUN_STARTED, encode_event
from turnwire.shared.keys import TurnKey
from turnwire.shared.model import TurnRecord
from turnwire.shared.store.patience import until_answered


class Form(NamedTuple):
    """The form of the answer (no framing: the record) and after how many seconds of silence to say something."""

    framing: Framing | None
    idle_s: float | None


class Turns:
    """The submitting endpoints, as ASGI applications."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._intake = Intake(services.store, services.queue)

    async def post(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/sessions/{session}/turns/{index}"""
        key = path_turn(scope)
        form = _form(scope)
        with suppress(ClientGone):
            asked = await read_turn(scope, receive, self._services.settings.max_body_bytes)
            accepted = await self._intake.submit(key, asked.request)
            await self._answer(accepted, asked, form, scope, receive, send)

    async def post_next(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/sessions/{session}/turns"""
        session = path_session(scope)
        repeat_key = idempotency_key(Headers(scope=scope))
        form = _form(scope)
        with suppress(ClientGone):
            asked = await read_turn(scope, receive, self._services.settings.max_body_bytes)
            accepted = await self._intake.submit_next(session, asked.request, repeat_key)
            await self._answer(accepted, asked, form, scope, receive, send)

    async def _answer(
        self, accepted: Accepted, asked: Asked, form: Form, scope: Scope, receive: Receive, send: Send
    ) -> None:
        key, headers = accepted.key, _location(accepted.key)
        if accepted.is_replay:
            await self._replay(key, form.framing, headers, scope, receive, send)
        elif form.framing is None:
            await self._intake.enqueue(accepted)
            record = await self._services.store.existing(key)
            await _record_response(record, headers, 200 if record.terminal else 202)(scope, receive, send)
        else:
            # joined before the queue knows of it: the first event arrives as a publication
            hub = self._services.hub
            with hub.follow(key, None, idle_s=form.idle_s) as tail:
                await self._intake.enqueue(accepted)
                encoder = hub.encoder(form.framing)
                client_left = await send_tail(tail, encoder, headers, self._services.settings.stall_s, scope, send)
            if client_left and asked.cancel_on_disconnect:
                await until_answered(lambda: cancel(self._services, key, "its client disconnected"))

    async def _replay(
        self, key: TurnKey, framing: Framing | None, headers: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers = headers | {"idempotent-replayed": "true"}
        record = await self._services.store.existing(key)
        if framing is None:
            await _record_response(record, headers, 200)(scope, receive, send)
        else:
            await send_events(replay_events(record), framing, headers, send)


def replay_events(record: TurnRecord) -> list[bytes]:
    """What a repeated request of a completed turn gets: the answer without its history."""
    started = {
        "sessionId": record.session_id,
        "tenantId": record.tenant_id,
        "turnIndex": record.turn_index,
        "attempt": record.attempt,
    }
    completed = {"sessionId": record.session_id, "replayed": True, "persisted": record.persist != "pending"}
    return [
        encode_event(RUN_STARTED, started),
        encode_event(RESULT, {"finalText": record.final_text or ""}),
        encode_event(RUN_COMPLETED, completed),
    ]


def turn_path(key: TurnKey) -> str:
    """Where a turn's record is."""
    return f"/v1/sessions/{key.session.session}/turns/{key.index}"


def _form(scope: Scope) -> Form:
    framing = negotiate(scope, record=True)
    if framing is None or wants_async(joined(Headers(scope=scope), "prefer")):
        return Form(None, None)
    return Form(framing, silence_s(scope, framing))


def _location(key: TurnKey) -> dict[str, str]:
    path = turn_path(key)
    return {"location": path, "content-location": path}


def _record_response(record: TurnRecord, headers: dict[str, str], status: int) -> Response:
    named = {"content-type": "application/json", "cache-control": "no-store", **headers}
    return Response(msgspec.json.encode(record), status, named)
