"""Lets a request reach its handler only if its credentials include the scope that the operation declares."""

from functools import partial

from turnwire.api.access.identity import Scope
from turnwire.api.edge.credentials import named_by_proxy, presented
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.rates import telling
from turnwire.api.edge.resource import Handler
from turnwire.api.endpoints.operation import Operation
from turnwire.api.services import Services
from turnwire.shared.errors import RateLimited


def guarded(services: Services, operation: Operation) -> Handler:
    """Return the operation's handler behind the check of credentials.

    The handler raises Unauthenticated, Forbidden or RateLimited before it reads the body and before it asks Redis.
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
        exchange.limits = services.limits(exchange.identity.tenant)
        try:
            exchange.rate = services.rates.take(exchange.identity.tenant, exchange.limits)
            if exchange.rate is not None:
                exchange.send = telling(exchange.send, lambda: exchange.rate)
            await handler(exchange)
        except RateLimited as error:
            error.burst, error.window_s = exchange.limits.burst, exchange.limits.window_s
            raise

    return guard
