"""Answers GET with the usage and cost of turns, of sessions and of tenants."""

import msgspec

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_session, path_turn, query_limit, query_name, require_json
from turnwire.api.services import Services
from turnwire.shared.errors import NotFound
from turnwire.shared.ledger import LedgerRows, UsageSums
from turnwire.shared.store.listing import Listing

PAGE_TENANTS = 100
MAX_PAGE_TENANTS = 1000


class TenantUsage(UsageSums, frozen=True, kw_only=True):
    """The sums of a tenant's ledger."""

    tenant_id: str

    @classmethod
    def of(cls, tenant: str, sums: UsageSums) -> "TenantUsage":
        """Return the sums with the name of their tenant."""
        return cls(tenant_id=tenant, **msgspec.structs.asdict(sums))


class UsageList(msgspec.Struct, frozen=True):
    """One page of the tenants that have used something, by name.

    `now`: Redis time, ms. `next`: the `after` of the next page; null on the last one.
    """

    now: int
    tenants: list[TenantUsage]
    next: str | None


async def get_ledger(services: Services, exchange: Exchange) -> None:
    """GET /v1/sessions/{session}/turns/{index}/ledger"""
    require_json(exchange)
    key = path_turn(exchange)
    rows = await services.store.ledger(key)
    if not rows:
        await services.store.existing(key)  # an empty list is an answer only for a turn that exists
    await exchange.answer_json(LedgerRows(rows))


async def get_session_usage(services: Services, exchange: Exchange) -> None:
    """GET /v1/sessions/{session}/usage"""
    require_json(exchange)
    sums = await services.store.usage(path_session(exchange))
    if sums is None:
        raise NotFound("no such session")
    await exchange.answer_json(sums)


async def get_usage(services: Services, exchange: Exchange) -> None:
    """GET /v1/usage"""
    require_json(exchange)
    await exchange.answer_json(await services.queue.usage(exchange.identity.tenant))


async def list_usage(services: Services, exchange: Exchange) -> None:
    """GET /v1/admin/usage"""
    require_json(exchange)
    limit = query_limit(exchange, default=PAGE_TENANTS, most=MAX_PAGE_TENANTS)
    tenant, after = query_name(exchange, "tenant"), query_name(exchange, "after") or ""
    listing = Listing(services.queue)
    if tenant is not None:
        found = [(tenant, await services.queue.usage(tenant))]
    else:
        found = await listing.usage(after, limit + 1)
    shown = [TenantUsage.of(name, sums) for name, sums in found[:limit]]
    following = shown[-1].tenant_id if len(found) > limit else None
    await exchange.answer_json(UsageList(await listing.now_ms(), shown, following))
