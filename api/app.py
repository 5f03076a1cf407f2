"""The ASGI application: routes, lifespan, errors."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from turnwire.api.durability import say_durability
from turnwire.api.edge.body import BODIES
from turnwire.api.edge.cors import Origins
from turnwire.api.edge.counted import count_problem
from turnwire.api.edge.problems import INTERNAL, Draining, answer_to
from turnwire.api.edge.resource import Handler, Resource
from turnwire.api.edge.site import allowed_hosts
from turnwire.api.edge.traced import Traced
from turnwire.api.edge.wire import CONNECTION, REQUEST_ID
from turnwire.api.endpoints.guard import guarded
from turnwire.api.endpoints.operation import TURN, TURNS
from turnwire.api.endpoints.page import page_handlers
from turnwire.api.endpoints.pages import public_pages
from turnwire.api.endpoints.routes import OPERATIONS
from turnwire.api.services import Services
from turnwire.shared.log_context import begin
from turnwire.shared.settings import Settings
from turnwire.shared.tracing import tracing

FREQUENT: Final = (TURN, TURNS, f"{TURN}/events")  # these come first, because the router tries one path after the other


def create_app(settings: Settings) -> Starlette:
    """Return the application. Its server ends the open streams through `app.state.services`.

    Raises:
        SettingsError: a Redis URL or the key file cannot be read.
    """
    services = Services(settings)
    BODIES.limit_bytes = settings.max_arriving_bytes

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with services.running(), asyncio.TaskGroup() as group:
            group.create_task(say_durability(services.redis, fails_over=settings.names_sentinels))
            yield

    middleware = [*_traced(settings), Middleware(_Gate, services=services)]
    app = _Application(routes=_routes(services), lifespan=lifespan, middleware=middleware)
    app.router.redirect_slashes = False  # a path with a slash too many is unknown
    app.state.services = services
    return app


class _Application(Starlette):
    """Routes requests as Starlette does, and leaves the answers to errors to `_Gate`.

    Starlette answers them in two layers, which wrap every message of an answer. An open stream would hold both layers.
    """

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = self.router
        for kind, args, kwargs in reversed(self.user_middleware):
            app = kind(app, *args, **kwargs)
        return app


def _traced(settings: Settings) -> list[Middleware]:
    """What makes the spans of requests; nothing while spans are off."""
    if tracing.tracer is None:
        return []
    return [Middleware(Traced, tracer=tracing.tracer, trusts_clients=settings.client_traces == "parent")]


def _routes(services: Services) -> list[Route]:
    handlers: dict[str, dict[str, Handler]] = {path: {} for path in FREQUENT}
    for operation in OPERATIONS:
        by_method = handlers.setdefault(operation.path, {})
        by_method[operation.method] = guarded(services, operation)
        if operation.head:
            by_method["HEAD"] = by_method[operation.method]
    for path, page in {**public_pages(services.settings), **page_handlers(services.settings)}.items():
        handlers[path] = {"GET": page, "HEAD": page}
    return [Route(_pattern(path), Resource(by_method)) for path, by_method in handlers.items()]


def _pattern(path: str) -> str:
    """Return the pattern of a path for the router. The names of workers and projects may hold slashes."""
    return path.replace("{worker}", "{worker:path}").replace("{project}", "{project:path}")


class _Gate:
    """Decides before anything else, also before the check of credentials, and answers the errors of what comes after.

    It refuses requests for another host, and those that arrive while the process stops: a load balancer, or the client,
    asks another process. It answers the preflights of browsers, which have no credentials.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services
        self._hosts = allowed_hosts(services.settings.host, services.settings.allowed_hosts)
        self._origins = Origins(services.settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        extensions = scope.get("extensions", {})
        begin(request_id=extensions.get(REQUEST_ID))
        try:
            self._check(scope)
            await (self._preflight(scope) or self._app)(scope, receive, send)
        except Exception as error:
            connection = extensions.get(CONNECTION)
            if connection is not None and connection.has_begun_to_answer:
                count_problem(None)
                raise  # the server logs it, and ends the connection
            response = answer_to(error)
            await response(scope, receive, send)
            if response.status_code == INTERNAL.status:
                raise  # the server logs it

    def _check(self, scope: Scope) -> None:
        self._hosts.check(scope["path"], scope["headers"])
        if self._services.draining and scope["path"] not in {"/healthz", "/metrics"}:
            raise Draining("the server is stopping")

    def _preflight(self, scope: Scope) -> ASGIApp | None:
        """Return the answer to a preflight; None: the request is none."""
        if not self._origins.any or scope["method"] != "OPTIONS":
            return None
        headers = Headers(scope=scope)
        if "access-control-request-method" not in headers:
            return None
        return Response(status_code=204, headers=self._origins.preflight(headers.get("origin", "")))
