"""Answers a POST that asks for a turn: it accepts the turn, then streams its events, or returns its record.

Rule: the client is answered only after the turn is in the store and in the queue.
"""

import time
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Final, NamedTuple

import msgspec

from turnwire.api.edge.accept import wants_async
from turnwire.api.edge.body import AskedTurn, ClientGone, read_turn
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import idempotency_key, joined, path_session, path_turn
from turnwire.api.endpoints.intake import Accepted, Intake
from turnwire.api.endpoints.stream import negotiate, send_events, send_tail, silence_s
from turnwire.api.following.encode import Framing
from turnwire.api.services import Services
from turnwire.shared.events import RESULT, RUN_COMPLETED, RUN_STARTED, completed_data, encode_event, result_data
from turnwire.shared.keys import TurnKey
from turnwire.shared.lanes import Lane, pool_of
from turnwire.shared.log_context import learn
from turnwire.shared.metrics import counter, histogram
from turnwire.shared.model import TurnRecord
from turnwire.shared.request import TurnRequest
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.waking import cancel_and_wake
from turnwire.shared.tracing import tracing

CANCEL_KEEPALIVE_S = 15.0  # a proxy that ends a silent connection must not cancel the turn

_ASKED: Final = counter("turnwire_turns_asked_total")
_FIRST_EVENTS: Final = histogram("turnwire_first_event_seconds")
_REPLAYS: Final = histogram("turnwire_replay_seconds")
_NEW: Final = frozenset({"created", "reopened"})  # who attaches to a turn that runs waits for no first event


class Form(NamedTuple):
    """The form of the answer. `framing`: None for the record. `idle_s`: seconds of silence before a sign of life."""

    framing: Framing | None
    idle_s: float | None


async def ask_turn(services: Services, exchange: Exchange) -> None:
    """POST /v1/sessions/{session}/turns/{index}"""
    key = path_turn(exchange)
    form = _form(exchange)
    intake = _intake(services, exchange)
    with suppress(ClientGone), _follows(services, exchange, form):
        asked = await read_turn(exchange, exchange.limits.max_body_bytes)
        accepted = await intake.submit(key, _placed(services, asked, exchange))
        _tell_rate(exchange, intake)
        await _Answer(services, intake, accepted, exchange).send(form, asked)


async def ask_next_turn(services: Services, exchange: Exchange) -> None:
    """POST /v1/sessions/{session}/turns"""
    session = path_session(exchange)
    repeat_key = idempotency_key(exchange)
    form = _form(exchange)
    intake = _intake(services, exchange)
    with suppress(ClientGone), _follows(services, exchange, form):
        asked = await read_turn(exchange, exchange.limits.max_body_bytes)
        accepted = await intake.submit_next(session, _placed(services, asked, exchange), repeat_key)
        _tell_rate(exchange, intake)
        await _Answer(services, intake, accepted, exchange).send(form, asked)


def _intake(services: Services, exchange: Exchange) -> Intake:
    weight = services.key_file.tenant(exchange.identity.tenant).weight
    check_model = partial(services.models.check, tenant=exchange.identity.tenant)
    return Intake(services.store, services.queue, services.erasures.users, weight, exchange.limits, check_model)


def _follows(services: Services, exchange: Exchange, form: Form) -> AbstractContextManager[None]:
    """Count the request among those that follow turns, if it is to be answered with a stream."""
    if form.framing is None:
        return nullcontext()
    return services.tails.one_more(exchange.identity.tenant, exchange.limits)


def _tell_rate(exchange: Exchange, intake: Intake) -> None:
    admitted = intake.admitted
    if admitted is not None:
        left = {"tenant": admitted.left, "key": admitted.key_left}
        exchange.rates = [rate.at_most(left[rate.holder]) for rate in exchange.rates]


def _placed(services: Services, asked: AskedTurn, exchange: Exchange) -> TurnRequest:
    """The request, with its id, and with the lane that its project and its priority give it.

    Raises:
        InvalidInput: its callback may not be made.
    """
    if asked.request.callback is not None:
        services.callback_hosts.check(asked.request.callback)
    pool = pool_of(asked.request.project, services.project_pools)
    lane = Lane(pool, asked.priority or services.settings.priority)
    return msgspec.structs.replace(asked.request, lane=lane, request_id=exchange.request_id)


class _Answer:
    """The answer to a request whose turn was accepted but is not in the queue yet."""

    def __init__(self, services: Services, intake: Intake, accepted: Accepted, exchange: Exchange) -> None:
        self._services = services
        self._intake = intake
        self._accepted = accepted
        self._exchange = exchange
        self._key = accepted.key
        learn(run_id=accepted.key.run_id)
        self._headers = _location(accepted.key, services.settings.root_path or "")
        if tracing.on:
            tracing.current().set({"turnwire.run_id": self._key.run_id, "turnwire.tenant": self._key.session.tenant})

    async def send(self, form: Form, asked: AskedTurn) -> None:
        _ASKED.add(self._accepted.submitted.verdict)
        if self._accepted.completed is not None:
            await self._replay(self._accepted.completed, form.framing)
        elif form.framing is None:
            await self._intake.enqueue(self._accepted)
            record = await self._services.store.existing(self._key)
            await self._exchange.answer_json(record, 200 if record.terminal else 202, self._headers)
        else:
            idle_s = form.idle_s
            if idle_s is None and asked.cancel_on_disconnect:
                idle_s = CANCEL_KEEPALIVE_S
            client_left = await self._stream(form.framing, idle_s)
            if client_left and asked.cancel_on_disconnect:
                services, reason = self._services, "its client disconnected"
                await until_answered(cancel_and_wake, services.store, services.queue, self._key, reason)

    async def _stream(self, framing: Framing, idle_s: float | None) -> bool:
        """Stream the turn. Returns True if the client left before the end."""
        hub, stall_s = self._services.hub, self._services.settings.stall_s
        # If the submit has not enqueued the turn, it is followed before it is in the queue: then nothing is missed.
        with hub.follow(self._key, None, idle_s=idle_s, is_new=self._accepted.is_new) as tail:
            await self._intake.enqueue(self._accepted)
            encoder, on_first = hub.encoder(framing), self._count_first_event
            return await send_tail(tail, encoder, self._headers, stall_s, self._exchange, on_first)

    def _count_first_event(self) -> None:
        if self._accepted.submitted.verdict in _NEW:
            _FIRST_EVENTS.observe(time.perf_counter() - self._exchange.began_s)

    async def _replay(self, record: TurnRecord, framing: Framing | None) -> None:
        headers = self._headers | {"idempotent-replayed": "true"}
        if framing is None:
            await self._exchange.answer_json(record, 200, headers)
        else:
            await send_events(replay_events(record), framing, headers, self._exchange)
        _REPLAYS.observe(time.perf_counter() - self._exchange.began_s)


def replay_events(record: TurnRecord) -> list[bytes]:
    """Return the events that answer a repeated request for a completed turn: the answer without its history."""
    started = {
        "sessionId": record.session_id,
        "tenantId": record.tenant_id,
        "turnIndex": record.turn_index,
        "attempt": record.attempt,
    }
    reason = record.usage.finish_reason if record.usage else None
    completed = completed_data(record.session_id, reason, replayed=True, persisted=record.persist != "pending")
    return [
        encode_event(RUN_STARTED, started),
        encode_event(RESULT, result_data(record.final_text or "", reason)),
        encode_event(RUN_COMPLETED, completed),
    ]


def turn_path(key: TurnKey) -> str:
    """Return the path of a turn's record."""
    return f"/v1/sessions/{key.session.session}/turns/{key.index}"


def _form(exchange: Exchange) -> Form:
    framing = negotiate(exchange, record=True)
    if framing is None or wants_async(joined(exchange.headers, "prefer")):
        return Form(None, None)
    return Form(framing, silence_s(exchange, framing))


def _location(key: TurnKey, root_path: str) -> dict[str, str]:
    path = root_path + turn_path(key)
    return {"location": path, "content-location": path}
