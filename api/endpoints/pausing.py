"""For operators: pause a tenant or a project, so that its turns are accepted but do not start; and resume it."""

from contextlib import suppress

import msgspec

from turnwire.api.edge.body import ClientGone
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_name
from turnwire.api.endpoints.audit import audited
from turnwire.api.endpoints.deeds import read_no_body
from turnwire.api.services import Services
from turnwire.shared.errors import BadRequest
from turnwire.shared.key_file import is_tenant
from turnwire.shared.store.audit import Action, AuditEntry
from turnwire.shared.store.pausing import Kind, Pausing


class Pause(msgspec.Struct, frozen=True):
    """Whether a tenant or a project is paused, and since when, in ms of Redis time."""

    kind: Kind
    name: str
    is_paused: bool
    since: int | None


async def pause_tenant(services: Services, exchange: Exchange) -> None:
    """POST /v1/admin/tenants/{tenant}/pause"""
    await _pause(services, exchange, "tenant")


async def pause_project(services: Services, exchange: Exchange) -> None:
    """POST /v1/admin/projects/{project}/pause"""
    await _pause(services, exchange, "project")


async def resume_tenant(services: Services, exchange: Exchange) -> None:
    """POST /v1/admin/tenants/{tenant}/resume"""
    await _resume(services, exchange, "tenant")


async def resume_project(services: Services, exchange: Exchange) -> None:
    """POST /v1/admin/projects/{project}/resume"""
    await _resume(services, exchange, "project")


async def _pause(services: Services, exchange: Exchange, kind: Kind) -> None:
    name = _name(exchange, kind)
    with suppress(ClientGone):
        await read_no_body(exchange)
        await services.audit.note(_entry(exchange, "pause", kind, name))
        paused = await Pausing(services.store, services.queue).pause(kind, name)
        await exchange.answer_json(Pause(kind, name, is_paused=True, since=paused.since))


async def _resume(services: Services, exchange: Exchange, kind: Kind) -> None:
    name = _name(exchange, kind)
    with suppress(ClientGone):
        await read_no_body(exchange)
        await services.audit.note(_entry(exchange, "resume", kind, name))
        await Pausing(services.store, services.queue).resume(kind, name)
        await exchange.answer_json(Pause(kind, name, is_paused=False, since=None))


def _entry(exchange: Exchange, action: Action, kind: Kind, name: str) -> AuditEntry:
    return audited(exchange, action, tenant=name) if kind == "tenant" else audited(exchange, action, project=name)


def _name(exchange: Exchange, kind: Kind) -> str:
    name = path_name(exchange, kind)
    if kind == "tenant" and not is_tenant(name):
        raise BadRequest("this is not the name of a tenant")
    return name
