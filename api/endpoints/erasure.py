"""DELETE /v1/sessions/{session}: erase everything of a session."""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from turnwire.api.edge.requests import path_session
from turnwire.api.services import Services
from turnwire.shared.errors import NotFound


class Erasure:
    """The erasing endpoint, as an ASGI application."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def delete(self, scope: Scope, receive: Receive, send: Send) -> None:
        """DELETE /v1/sessions/{session}: 204; its running turns stop, its readers' streams end."""
        if not await self._services.store.erase(path_session(scope)):
            raise NotFound("no such session")
        await Response(status_code=204)(scope, receive, send)
