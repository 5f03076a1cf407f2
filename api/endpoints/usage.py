"""GET: what turns, sessions and a tenant used and cost."""

from starlette.requests import Request
from starlette.responses import Response

from turnwire.api.edge.requests import path_session, path_turn
from turnwire.api.endpoints.records import json_response, require_json
from turnwire.api.services import Services
from turnwire.shared.errors import NotFound
from turnwire.shared.keys import DEFAULT_TENANT
from turnwire.shared.ledger import LedgerRows


class Usages:
    """The endpoints of the ledger."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def turn(self, request: Request) -> Response:
        """GET /v1/sessions/{session}/turns/{index}/ledger"""
        require_json(request)
        key = path_turn(request.scope)
        rows = await self._services.store.ledger(key)
        if not rows:
            await self._services.store.existing(key)  # no rows is an answer only for a turn that exists
        return json_response(LedgerRows(rows))

    async def session(self, request: Request) -> Response:
        """GET /v1/sessions/{session}/usage"""
        require_json(request)
        sums = await self._services.store.usage(path_session(request.scope))
        if sums is None:
            raise NotFound("no such session")
        return json_response(sums)

    async def tenant(self, request: Request) -> Response:
        """GET /v1/usage"""
        require_json(request)
        return json_response(await self._services.queue.usage(DEFAULT_TENANT))
