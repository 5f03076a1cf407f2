"""Lets a request reach its handler only if its credentials include the scope that the operation declares."""

from functools import partial

from turnwire.api.access.identity import Scope
from turnwire.api.edge.credentials import named_by_proxy, presented
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.resource import Handler
from turnwire.api.endpoints.operation import Operation
from turnwire.api.services import Services


def guarded(services: Services, operation: Operation) -> Handler:
    """Return the operation's handler behind the check of credentials.

    The handler raises Unauthenticated or Forbidden before it reads the body and before it asks Redis.
    """
    handler = partial(operation.handler, services)
    if operation.scope is Scope.PUBLIC:
        return handler
    settings = services.settings

    async def guard(exchange: Exchange) -> None:
        credentials = (
            presented(exchange) if settings.authenticates else named_by_proxy(exchange, settings.tenant_header)
        )
        exchange.identity = await services.door.identify(credentials)
        exchange.identity.require(operation.scope)
        await handler(exchange)

    return guard
