"""For operators: what waits in the queue, and for what."""

import asyncio

import msgspec

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import require_json
from turnwire.api.services import Services
from turnwire.shared.store.queue_view import QueueView
from turnwire.shared.store.suspended import SuspendedTurns


class QueueAnswer(QueueView, frozen=True, kw_only=True):
    """The queue, and how many of the open turns are suspended."""

    suspended: int


async def get_queue(services: Services, exchange: Exchange) -> None:
    """GET /v1/admin/queue"""
    require_json(exchange)
    index = SuspendedTurns(services.store.redis, services.settings)
    view, suspended = await asyncio.gather(services.queue.view(services.project_pools.values()), index.count())
    await exchange.answer_json(QueueAnswer(*msgspec.structs.astuple(view), suspended=suspended))
