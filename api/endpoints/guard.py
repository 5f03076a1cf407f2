"""Lets a request reach its handler only if its credentials allow the operation, and the session of its path."""

from functools import partial
from typing import Final

from turnwire.api.access.door import Credential
from turnwire.api.access.errors import Forbidden
from turnwire.api.access.identity import Identity, Scope
from turnwire.api.edge.credentials import named_by_proxy, presented
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.rates import telling
from turnwire.api.edge.requests import path_session, path_turn
from turnwire.api.edge.resource import Handler
from turnwire.api.endpoints.operation import Operation
from turnwire.api.services import Services
from turnwire.shared.errors import NotFound
from turnwire.shared.log_context import learn
from turnwire.shared.metrics import counter
from turnwire.shared.settings import Settings

_REQUESTS: Final = counter("turnwire_requests_total")


def guarded(services: Services, operation: Operation) -> Handler:
    """Return the operation's handler behind the check of credentials.

    The handler raises Unauthenticated, Forbidden or RateLimited before it reads the body and before it asks Redis, and
    NotFound for the sessions of other users.
    """
    handler, name = partial(operation.handler, services), operation.name

    async def everybody(exchange: Exchange) -> None:
        _REQUESTS.add(name)
        await handler(exchange)

    if operation.scope is Scope.PUBLIC or (operation.scope is Scope.METRICS and services.settings.metrics_open):
        return everybody
    may_outlive_credentials = operation.is_streamed and services.settings.authenticates

    async def guard(exchange: Exchange) -> None:
        _REQUESTS.add(name)
        credential = await _admitted(services, operation, exchange)
        identity = exchange.identity = credential.identity
        learn(tenant=identity.tenant)
        identity.require(operation.scope)
        if may_outlive_credentials:
            exchange.while_valid = partial(services.watch.while_valid, credential)
        exchange.limits = services.limits(identity)
        exchange.rates = services.rates.take(identity.tenant, exchange.limits)
        if exchange.rates:
            exchange.send = telling(exchange.send, lambda: exchange.rates)
        if identity.is_bound:
            await _check_binding(services, operation, exchange, identity)
        await handler(exchange)

    return guard


async def _admitted(services: Services, operation: Operation, exchange: Exchange) -> Credential:
    settings: Settings = services.settings
    if settings.authenticates:
        credentials = presented(exchange, may_be_in_url=operation.is_followed)
    else:
        credentials = named_by_proxy(exchange, settings.tenant_header)
    return await services.door.admit(credentials)


async def _check_binding(services: Services, operation: Operation, exchange: Exchange, identity: Identity) -> None:
    """Raises:
    Forbidden: the operation shows something of the whole tenant.
    NotFound: the session is another user's, or there is none: both take the same way and get the same answer.
    """
    if not operation.is_of_session:
        if operation.scope is Scope.READ:
            raise Forbidden("these credentials open single sessions only")
        return
    session = path_turn(exchange).session if operation.is_of_turn else path_session(exchange)
    if identity.user is None or operation.begins_session:  # for a session that begins, the store checks the user
        return
    if await services.store.user_of(session) != identity.user:
        raise NotFound("no such turn" if operation.is_of_turn else "no such session")
