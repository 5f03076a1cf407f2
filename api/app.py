"""The ASGI application: routes, lifespan, errors."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from turnwire.api.edge.problems import Draining, on_defect, on_http_error, on_turnwire_error, problem_response
from turnwire.api.edge.resource import Resource, page
from turnwire.api.endpoints import pages
from turnwire.api.endpoints.cancel import Cancels
from turnwire.api.endpoints.erasure import Erasure
from turnwire.api.endpoints.follow import Events
from turnwire.api.endpoints.pending import Admin
from turnwire.api.endpoints.probes import Probes, say_durability
from turnwire.api.endpoints.records import Records
from turnwire.api.endpoints.signals import Signals
from turnwire.api.endpoints.turns import Turns
from turnwire.api.endpoints.usage import Usages
from turnwire.api.services import Services
from turnwire.shared.errors import TurnwireError
from turnwire.shared.settings import Settings


def create_app(settings: Settings) -> Starlette:
    """The application. `app.state.services` is what its server needs to end it well.

    Raises:
        SettingsError: a Redis URL cannot be read.
    """
    services = Services(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with services.running(), asyncio.TaskGroup() as group:
            group.create_task(say_durability(services.redis))
            yield

    app = Starlette(
        routes=_routes(services),
        lifespan=lifespan,
        middleware=[Middleware(_DrainGate, services=services)],
        exception_handlers={
            TurnwireError: on_turnwire_error,
            HTTPException: on_http_error,
            Exception: on_defect,
        },
    )
    app.router.redirect_slashes = False  # a path is right or unknown
    app.state.services = services
    return app


def _routes(services: Services) -> list[Route]:
    turns, records, events, probes = Turns(services), Records(services), Events(services), Probes(services)
    usages = Usages(services)
    turn = "/v1/sessions/{session}/turns/{index}"
    return [
        Route("/v1/sessions/{session}", Resource(delete=Erasure(services).delete)),
        Route("/v1/sessions/{session}/turns", page(records.turns, post=turns.post_next)),
        Route(turn, page(records.record, post=turns.post)),
        Route(f"{turn}/events", Resource(get=events.get)),
        Route(f"{turn}/ledger", page(usages.turn)),
        Route("/v1/sessions/{session}/usage", page(usages.session)),
        Route("/v1/usage", page(usages.tenant)),
        Route(f"{turn}/cancel", Resource(post=Cancels(services).post)),
        Route(f"{turn}/signals/{{key}}", Resource(post=Signals(services).post)),
        Route("/v1/admin/persist", page(Admin(services).persist)),
        Route("/healthz", page(probes.alive)),
        Route("/readyz", page(probes.ready)),
        Route("/openapi.json", page(pages.description)),
        Route("/docs", page(pages.docs)),
    ]


class _DrainGate:
    """Refuses what arrives while the process ends; a load balancer, or the client, asks another one."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._services.draining and scope["path"] != "/healthz":
            await problem_response(Draining("the server is about to stop"))(scope, receive, send)
        else:
            await self._app(scope, receive, send)
