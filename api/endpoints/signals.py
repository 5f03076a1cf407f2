"""POST …/signals/{key}: tell a turn what it waits for, or will wait for."""

from contextlib import suppress
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from turnwire.api.edge.accept import JSON
from turnwire.api.edge.body import ClientGone, read_body
from turnwire.api.edge.requests import path_turn
from turnwire.api.services import Services
from turnwire.shared.keys import signal_key


class SignalBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a signal; it may be left out, for a payload of null."""

    payload: Any = None


class StoredSignal(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands for this key. `timed_out`: the turn had stopped waiting before."""

    emitted_at: int
    payload: Any = None
    timed_out: bool = False


class Signals:
    """The signalling endpoint, as an ASGI application."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def post(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/sessions/{session}/turns/{index}/signals/{key}"""
        turn, key = path_turn(scope), signal_key(scope["path_params"]["key"])
        with suppress(ClientGone):
            body = await read_body(
                scope, receive, self._services.settings.max_body_bytes, SignalBody, absent=SignalBody()
            )
            payload = msgspec.json.encode(body.payload)
            first, stored, enqueue = await self._services.store.signal(turn, key, payload)
            if enqueue:
                await self._services.queue.enqueue(turn.run_id, accepted=True)
            headers = {"content-type": JSON, "cache-control": "no-store"}
            await Response(stored, 202 if first else 200, headers)(scope, receive, send)
