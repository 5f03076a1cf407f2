"""What operators do: put a turn back, cancel it, drain or kill a worker. Each deed is noted in the audit stream."""

import os
import signal
import socket
from contextlib import suppress

import msgspec

from turnwire.api.edge.body import ClientGone, read_body
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_name, path_run_id
from turnwire.api.endpoints.audit import audited
from turnwire.api.endpoints.cancel import MAX_BODY_BYTES, CancelBody
from turnwire.api.services import Services
from turnwire.shared.errors import NotFound
from turnwire.shared.replies import CancelVerdict
from turnwire.shared.store.control import Control
from turnwire.shared.store.worker_view import Workers


class NoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a deed that needs none; it may be left out."""


class DrainingWorker(msgspec.Struct, frozen=True):
    """A worker that was asked to drain."""

    id: str
    is_draining: bool = True


class KilledWorker(msgspec.Struct, frozen=True):
    """A worker whose process was killed."""

    id: str
    is_killed: bool = True


async def requeue_turn(services: Services, exchange: Exchange) -> None:
    """POST /v1/admin/turns/{run_id}/requeue"""
    key, control = path_run_id(exchange), Control(services.store, services.queue)
    with suppress(ClientGone):
        await read_no_body(exchange)
        await control.check_requeue(key)
        await services.audit.note(audited(exchange, "requeue", key.session, turn_index=key.index))
        await exchange.answer_json(await control.requeue(key), 202)


async def cancel_any_turn(services: Services, exchange: Exchange) -> None:
    """POST /v1/admin/turns/{run_id}/cancel"""
    key = path_run_id(exchange)
    with suppress(ClientGone):
        body = await read_body(exchange, MAX_BODY_BYTES, CancelBody, absent=CancelBody())
        await services.store.existing(key)
        await services.audit.note(audited(exchange, "cancel", key.session, turn_index=key.index))
        verdict = await services.cancels.cancel(key, body.reason or "")
        record = await services.store.existing(key)
        await exchange.answer_json(record, 200 if verdict is CancelVerdict.ENDED else 202)


async def drain_worker(services: Services, exchange: Exchange) -> None:
    """POST /v1/admin/workers/{worker}/drain"""
    worker = path_name(exchange, "worker")
    with suppress(ClientGone):
        await read_no_body(exchange)
        if worker not in await services.queue.workers():
            raise NotFound("no such worker")
        await services.audit.note(audited(exchange, "drain", worker=worker))
        await Control(services.store, services.queue).drain(worker)
        await exchange.answer_json(DrainingWorker(worker), 202)


async def kill_worker(services: Services, exchange: Exchange) -> None:
    """POST /v1/admin/workers/{worker}/kill, which shows a developer what becomes of a turn whose worker dies.

    Raises:
        NotFound: TURNWIRE_DEVELOPMENT is not set, or no such worker lives on this host.
    """
    worker = path_name(exchange, "worker")
    with suppress(ClientGone):
        await read_no_body(exchange)
        pid = await _pid_on_this_host(services, worker)
        await services.audit.note(audited(exchange, "kill", worker=worker))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        await exchange.answer_json(KilledWorker(worker), 202)


async def read_no_body(exchange: Exchange) -> None:
    """Read the request to its end, so that a page of another site cannot send it."""
    await read_body(exchange, MAX_BODY_BYTES, NoBody, absent=NoBody())


async def _pid_on_this_host(services: Services, worker: str) -> int:
    if services.settings.development:
        view = await Workers(services.store, services.queue).view()
        for each in view.workers:
            if each.id == worker and each.is_alive and each.host == socket.gethostname():
                return each.pid
    raise NotFound("no such worker")
