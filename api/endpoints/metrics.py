"""Shows the metrics of this process, and those of the whole deployment."""

import asyncio

from turnwire.api.edge.exchange import NO_STORE, Exchange
from turnwire.api.edge.requests import joined
from turnwire.api.services import Services


async def get_metrics(services: Services, exchange: Exchange) -> None:
    """GET /metrics

    They are written in a thread, because that takes a millisecond or two, and the first time much longer.
    """
    gauges = await services.store_gauges.read()
    accept = joined(exchange.headers, "accept") or ""
    body, media_type = await asyncio.to_thread(services.exposition.write, accept, gauges)
    await exchange.answer(200, {"content-type": media_type, **NO_STORE}, body)
