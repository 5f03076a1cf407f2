"""One path and its methods; Starlette would answer 405 with the methods of one of its routes only."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from turnwire.api.edge.problems import MethodNotAllowed


class Resource:
    """An ASGI application that passes a request on by its method."""

    def __init__(
        self,
        *,
        get: ASGIApp | None = None,
        head: ASGIApp | None = None,
        post: ASGIApp | None = None,
        delete: ASGIApp | None = None,
    ) -> None:
        by_method = {"GET": get, "HEAD": head, "POST": post, "DELETE": delete}
        self._by_method = {method: app for method, app in by_method.items() if app}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises:
        MethodNotAllowed: the path has no such method.
        """
        app = self._by_method.get(scope["method"])
        if app is None:
            raise MethodNotAllowed(", ".join(self._by_method))
        await app(scope, receive, send)


def page(handler: Callable[[Request], Awaitable[Response]], *, post: ASGIApp | None = None) -> Resource:
    """A resource whose GET, and HEAD, is an answer in one piece."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive))
        await response(scope, receive, send)

    return Resource(get=answer, head=answer, post=post)
