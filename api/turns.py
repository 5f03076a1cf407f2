"""POST: accept a turn, then stream it, or say where it is.

Rule: the client is answered only after the turn stands in the store and in the queue.
"""

from contextlib import suppress

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.accept import wants_async
from api.body import ClientGone, read_turn
from api.encode import Framing
from api.requests import idempotency_key, joined, path_session, path_turn
from api.services import Services
from api.stream import negotiate, send_events, send_tail, silence_s
from shared.errors import NotFound, QueueFull
from shared.events import ERROR, RESULT, RUN_COMPLETED, RUN_FAILED, RUN_STARTED, encode_event
from shared.keys import TurnKey
from shared.model import Submitted, TurnRecord


class Turns:
    """The submitting endpoints, as ASGI applications."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def post(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/sessions/{session}/turns/{index}"""
        key = path_turn(scope)
        framing, idle_s = _form(scope)
        with suppress(ClientGone):
            request = await read_turn(scope, receive, self._services.settings.max_body_bytes)
            submitted = await self._services.store.submit(key, request)
            await self._answer(submitted, framing, idle_s, scope, receive, send)

    async def post_next(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/sessions/{session}/turns"""
        session = path_session(scope)
        repeat_key = idempotency_key(Headers(scope=scope))
        framing, idle_s = _form(scope)
        with suppress(ClientGone):
            request = await read_turn(scope, receive, self._services.settings.max_body_bytes)
            submitted = await self._services.store.submit_next(session, request, repeat_key)
            await self._answer(submitted, framing, idle_s, scope, receive, send)

    async def _answer(
        self, submitted: Submitted, framing: Framing | None, idle_s: float | None, scope: Scope, receive: Receive,
        send: Send,
    ) -> None:  # fmt: skip
        headers = _location(submitted.key)
        if submitted.verdict == "replay":
            await self._replay(submitted.key, framing, headers, scope, receive, send)
        elif framing is None:
            await self._enqueue(submitted)
            record = await self._record(submitted.key)
            await _record_response(record, headers, 200 if record.terminal else 202)(scope, receive, send)
        else:
            # joined before the queue knows of it: the first event arrives as a publication
            with self._services.hub.follow(submitted.key, None, idle_s=idle_s) as tail:
                await self._enqueue(submitted)
                await send_tail(tail, framing, headers, receive, send)

    async def _replay(
        self, key: TurnKey, framing: Framing | None, headers: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers = headers | {"idempotent-replayed": "true"}
        record = await self._record(key)
        if framing is None:
            await _record_response(record, headers, 200)(scope, receive, send)
        else:
            await send_events(replay_events(record), framing, headers, send)

    async def _enqueue(self, submitted: Submitted) -> None:
        """Put it in the queue; a turn that had been accepted before is never refused.

        Raises:
            QueueFull: a new turn is taken back first.
        """
        queue, run_id = self._services.queue, submitted.key.run_id
        if submitted.verdict == "attached":  # in the queue already, unless its submit was cut in half
            await queue.enqueue(run_id, accepted=True)
            return
        try:
            await queue.enqueue(run_id)
        except QueueFull as full:
            session = submitted.key.session.session
            detail = {"message": str(full), "code": full.code}
            error = encode_event(ERROR, {**detail, "retryable": True})
            failed = encode_event(RUN_FAILED, {"sessionId": session, **detail})
            if await self._services.store.withdraw(submitted, [error, failed]):
                raise
            await queue.enqueue(run_id, accepted=True)  # somebody else relies on it by now

    async def _record(self, key: TurnKey) -> TurnRecord:
        record = await self._services.store.record(key)
        if record is None:
            raise NotFound("no such turn")
        return record


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


def _form(scope: Scope) -> tuple[Framing | None, float | None]:
    """The form of the answer (None: the record) and after how many seconds of silence to say something."""
    framing = negotiate(scope, record=True)
    if framing is None or wants_async(joined(Headers(scope=scope), "prefer")):
        return None, None
    return framing, silence_s(scope, framing)


def _location(key: TurnKey) -> dict[str, str]:
    path = turn_path(key)
    return {"location": path, "content-location": path}


def _record_response(record: TurnRecord, headers: dict[str, str], status: int) -> Response:
    named = {"content-type": "application/json", "cache-control": "no-store", **headers}
    return Response(msgspec.json.encode(record), status, named)
