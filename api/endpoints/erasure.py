"""DELETE erases a session, or everything of a user, and answers with a receipt."""

from turnwire.api.access.errors import Forbidden
from turnwire.api.access.identity import Identity
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import path_session, path_user
from turnwire.api.endpoints.audit import audited
from turnwire.api.services import Services


async def erase_session(services: Services, exchange: Exchange) -> None:
    """DELETE /v1/sessions/{session}. The session's running turns stop, and its open streams end."""
    session = path_session(exchange)
    await services.audit.note(audited(exchange, "erase_session", session))
    await exchange.answer_json(await services.erasures.erase_session(session, exchange.identity.user))


async def erase_user(services: Services, exchange: Exchange) -> None:
    """DELETE /v1/users/{user}. A session in which several users spoke is erased as a whole."""
    user = path_user(exchange)
    _require_all_sessions_of(exchange.identity, user)
    await services.audit.note(audited(exchange, "erase_user", erased_user=user))
    await exchange.answer_json(await services.erasures.erase_user(exchange.identity.tenant, user))


def _require_all_sessions_of(identity: Identity, user: str) -> None:
    """Raises:
    Forbidden: the credentials are bound to another user, or to some sessions.
    """
    if identity.user not in (None, user) or identity.session is not None or identity.session_prefix is not None:
        raise Forbidden("these credentials do not open all sessions of this user")
