"""For operators: the workers and what each one runs, and the leases of all of them."""

import msgspec

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import query_limit, query_text, require_json
from turnwire.api.services import Services
from turnwire.shared.errors import BadRequest
from turnwire.shared.keys import is_run_id
from turnwire.shared.store.listing import Listing
from turnwire.shared.store.worker_view import Lease, Workers

PAGE_LEASES = 100
MAX_PAGE_LEASES = 1000


class LeaseList(msgspec.Struct, frozen=True):
    """One page of the leases, by worker. Turns that were claimed this moment may have none yet.

    `now`: Redis time, ms. `lease_ms`: how long a lease lasts as a whole. `next`: the `after` of the next page; null on
    the last one.
    """

    now: int
    lease_ms: int
    leases: list[Lease]
    next: str | None


async def list_workers(services: Services, exchange: Exchange) -> None:
    """GET /v1/admin/workers"""
    require_json(exchange)
    await exchange.answer_json(await Workers(services.store, services.queue).view())


async def list_leases(services: Services, exchange: Exchange) -> None:
    """GET /v1/admin/leases"""
    require_json(exchange)
    limit = query_limit(exchange, default=PAGE_LEASES, most=MAX_PAGE_LEASES)
    after = _after(query_text(exchange, "after"))
    workers = sorted(worker for worker in await services.queue.workers() if worker >= after[0])
    listing = Listing(services.queue)
    claimed = await listing.claimed(workers)
    places = [(worker, run_id) for worker in workers for run_id in claimed[worker] if (worker, run_id) > after]
    shown = places[:limit]
    now_ms = await listing.now_ms()
    leases = await Workers(services.store, services.queue).leases([run_id for _, run_id in shown])
    following = "#".join(shown[-1]) if len(places) > limit else None
    await exchange.answer_json(LeaseList(now_ms, services.settings.lease_ms, leases, following))


def _after(text: str | None) -> tuple[str, str]:
    if text is None:
        return "", ""
    worker, _, run_id = text.rpartition("#")
    if not is_run_id(run_id):
        raise BadRequest("after must be the `next` of an earlier page")
    return worker, run_id
