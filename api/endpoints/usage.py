"""Answers GET with the usage and cost of turns, sessions and a tenant."""

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_session, path_turn, require_json
from turnwire.api.services import Services
from turnwire.shared.errors import NotFound
from turnwire.shared.ledger import LedgerRows


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
