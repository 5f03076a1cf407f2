"""For operators: what waits in the queue, and for what."""

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import require_json
from turnwire.api.services import Services


async def get_queue(services: Services, exchange: Exchange) -> None:
    """GET /v1/admin/queue"""
    require_json(exchange)
    await exchange.answer_json(await services.queue.view(services.project_pools.values()))
