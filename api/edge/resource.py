"""Serves one path with all its methods. Starlette alone would name the methods of only one route in a 405."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.types import Receive, Scope, Send

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.problems import MethodNotAllowed

Handler = Callable[[Exchange], Awaitable[None]]


class Resource:
    """An ASGI application that passes a request on by its method."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = {method: handlers[method] for method in sorted(handlers)}  # the order in Allow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the handler of the request's method.

        Raises:
            MethodNotAllowed: the path has no such method.
        """
        handler = self._handlers.get(scope["method"])
        if handler is None:
            raise MethodNotAllowed(", ".join(self._handlers))
        await handler(Exchange(scope, receive, send))
