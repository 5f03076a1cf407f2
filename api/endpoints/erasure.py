"""DELETE /v1/sessions/{session} erases everything of a session."""

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_session
from turnwire.api.services import Services
from turnwire.shared.errors import NotFound


async def erase_session(services: Services, exchange: Exchange) -> None:
    """DELETE /v1/sessions/{session}. The session's running turns stop, and its open streams end."""
    session = path_session(exchange)
    if not await services.store.erase(session, user=exchange.identity.user):
        raise NotFound("no such session")
    if exchange.limits.max_sessions is not None:
        await services.queue.drop_session(session)
    await exchange.answer(204, {})
