"""Notes in the audit stream who asks for what, and lists the entries for operators."""

import re
from typing import Final

import msgspec

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import query_limit, query_text, require_json
from turnwire.api.endpoints.records import MAX_PAGE_TURNS, PAGE_TURNS
from turnwire.api.services import Services
from turnwire.shared.errors import BadRequest
from turnwire.shared.identity import user_digest
from turnwire.shared.keys import SessionKey
from turnwire.shared.store.audit import Action, AuditEntry, StoredEntry

_ENTRY_ID: Final = re.compile(r"[0-9]{1,16}-[0-9]{1,16}\Z")


class AuditList(msgspec.Struct, frozen=True):
    """One page of the entries, oldest first. `next`: the `after` of the next page; null on the last one."""

    entries: list[StoredEntry]
    next: str | None


async def list_audit(services: Services, exchange: Exchange) -> None:
    """GET /v1/admin/audit"""
    require_json(exchange)
    after = query_text(exchange, "after") or ""
    if after and not _ENTRY_ID.match(after):
        raise BadRequest("after must be the `next` of an earlier page")
    limit = query_limit(exchange, default=PAGE_TURNS, most=MAX_PAGE_TURNS)
    entries = await services.audit.entries(after, limit + 1)
    shown = entries[:limit]
    await exchange.answer_json(AuditList(shown, shown[-1].id if len(entries) > limit else None))


def audited(
    exchange: Exchange,
    action: Action,
    session: SessionKey | None = None,
    *,
    turn_index: int | None = None,
    signal: str | None = None,
    tenant: str | None = None,
    worker: str | None = None,
    project: str | None = None,
    erased_user: str | None = None,
    revoked: str | None = None,
) -> AuditEntry:
    """Return the entry for a request. `tenant`: the one that was paused, if any."""
    who = exchange.identity
    of_tenant = tenant if session is None else session.tenant
    return AuditEntry(
        action=action,
        tenant_id=who.tenant,
        key=who.name,
        user_digest=None if who.user is None else user_digest(who.tenant, who.user),
        request_id=exchange.request_id,
        session_id=None if session is None else session.session,
        turn_index=turn_index,
        signal=signal,
        of_tenant=None if of_tenant == who.tenant else of_tenant,
        worker=worker,
        project=project,
        erased_user_digest=None if erased_user is None else user_digest(who.tenant, erased_user),
        revoked=revoked,
    )
