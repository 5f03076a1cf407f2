"""Runs a turn of a product in memory."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from turnwire.shared.keys import DEFAULT_TENANT, session_key
from turnwire.shared.settings import Settings
from turnwire.testing.clock import ManualClock
from turnwire.testing.faults import CrashPoint, faults_at
from turnwire.testing.result import TurnRun, look
from turnwire.testing.stage import History, Stage, request_of


async def run_turn(
    hooks: Any,
    message: str | Sequence[Mapping[str, Any]],
    *,
    user: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    model: str | None = None,
    metadata: dict[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    history: History = (),
    parent: int | None = None,
    signals: Mapping[str, Any] | None = None,
    crash_before: CrashPoint | Sequence[CrashPoint] | None = None,
    crash_after: CrashPoint | Sequence[CrashPoint] | None = None,
    lose_reply: CrashPoint | Sequence[CrashPoint] | None = None,
    cancel_after: int | None = None,
    cancel_reason: str = "",
    max_attempts: int | None = None,
    clock: ManualClock | None = None,
    settings: Settings | None = None,
    session: str = "test",
    tenant: str = DEFAULT_TENANT,
) -> TurnRun:
    """Run one turn of a product until it ends, or until it waits for a signal that is not in `signals`.

    Turnwire's own code runs it, over a store in memory. It needs no Redis, no sockets and no environment variables.

    Args:
        hooks: the product's hooks, or a class or function that makes them. Then each worker gets hooks of its own.
        message: the user's message: a text, or parts as a client sends them.
        user: the id of the user.
        project: the product that the client asks.
        domain: a part of the identity of the turn.
        model: the model that the client asks for.
        metadata: a JSON object that the client sends with the message.
        options: what the client wants of the model: temperature, max_tokens, …
        history: earlier messages: (user, assistant) pairs, or chat messages as `turn.history()` gives them.
        parent: the index of the turn that this one follows; -1: none. The turns of `history` have the indexes 0, 1, ….
        signals: payloads by key. The turn gets a signal when it waits for it. With the payload `TIMES_OUT`, its time
            runs out instead.
        crash_before: the worker dies just before this write. A write is given by its number, counted from 1 over all
            attempts, or by its name in `TurnRun.writes`. Several may be given. The next attempt takes the turn over.
        crash_after: the worker dies right after this write.
        lose_reply: this write happens, but the worker does not hear of it and repeats it.
        cancel_after: a client cancels the turn when the producer has yielded so many events; 0: before the first one.
        cancel_reason: the reason that this client gives.
        max_attempts: the turn is given up when so many workers have died; default: that of `settings`.
        clock: the clock of the store; default: a new ManualClock.
        settings: Turnwire's settings; default: Turnwire's defaults.
        session: the name of the session.
        tenant: the name of the session's tenant.

    Raises:
        NotHooks: `hooks` has no `produce`, and makes nothing that has one.
        SignalNeverAsked: the turn never waited for one of `signals`.
        CrashPointNeverReached: the turn made no such write.
        CancelNeverCame: the producer yielded fewer events than `cancel_after`.
        TurnNeverEnds: the turn was run a thousand times and has not ended.
        InvalidInput: the message or the options are not what a client may send.
        UnknownParent: `history` has no turn with the index `parent`.
        WrongUse: `history` is not made of pairs, or a signal shall time out for which the turn waits without a limit.
    """
    faults = [
        *faults_at("before", crash_before), *faults_at("after", crash_after), *faults_at("lost", lose_reply),
    ]  # fmt: skip
    chosen = settings if settings is not None else Settings()
    if max_attempts is not None:
        chosen = msgspec.structs.replace(chosen, max_attempts=max_attempts)
    stage = Stage(hooks, session_key(session, tenant), clock if clock is not None else ManualClock(), chosen)
    await stage.add_history(history)
    client = {"user": user, "project": project, "domain": domain, "model": model, "metadata": metadata}
    request = request_of(message, parent=parent, options=options, **client)
    key = await stage.run(request, signals or {}, faults, cancel_after=cancel_after, cancel_reason=cancel_reason)
    return await look(stage, key)


def run_turn_sync(hooks: Any, message: str | Sequence[Mapping[str, Any]], **options: Any) -> TurnRun:
    """Do the same as `run_turn`, in a test that is not a coroutine. It may not be called where an event loop runs."""
    return asyncio.run(run_turn(hooks, message, **options))
