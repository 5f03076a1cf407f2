"""One HTTP request, together with the way to answer it. Every handler gets one."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from turnwire.api.access.identity import NOBODY, Identity
from turnwire.api.edge.accept import JSON
from turnwire.api.edge.client_address import TrustedProxies
from turnwire.api.edge.cors import Origins
from turnwire.api.edge.rates import Rate
from turnwire.api.edge.wire import CONNECTION, REQUEST_ID
from turnwire.shared.limits import NO_LIMITS

# A block in which the given function is called, with a code, as soon as the credentials of the request end.
WhileValid = Callable[[Callable[[str], None]], AbstractContextManager[None]]
NO_STORE: Final = {"cache-control": "no-store"}


_UNENDING: Final = nullcontext()


def _without_end(_: Callable[[str], None]) -> AbstractContextManager[None]:
    """No credentials are checked, so none end."""
    return _UNENDING


class Exchange:
    """Holds the ASGI scope, receive and send of a request, its headers, and the identity of who sends it."""

    __slots__ = ("began_s", "headers", "identity", "limits", "rates", "receive", "scope", "send", "while_valid")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers = Headers(scope=scope)
        self.began_s = time.perf_counter()
        self.identity: Identity = NOBODY  # until the credentials are checked
        self.limits = NO_LIMITS  # the same
        self.while_valid: WhileValid = _without_end
        self.rates: Sequence[Rate] = ()  # of its tenant and of its key, if they have any

    @property
    def client(self) -> str:
        """The address of the client, as far as the trusted proxies tell it; `unknown` if they do not."""
        address: str = self._proxies.client(self._peer, self.scope["headers"])
        return address

    @property
    def request_id(self) -> str | None:
        """The id of the request; None: it came by no connection of this server."""
        found: str | None = self.scope.get("extensions", {}).get(REQUEST_ID)
        return found

    @property
    def comes_from_stranger(self) -> bool:
        """Whether there are trusted proxies, and the connection comes from none of them."""
        return self._proxies.named and not self._proxies.trusts(self._peer)

    @property
    def _peer(self) -> str | None:
        peer = self.scope["client"]
        return peer[0] if peer else None

    @property
    def _proxies(self) -> TrustedProxies:
        proxies: TrustedProxies = self.scope["extensions"][CONNECTION].proxies
        return proxies

    @property
    def origins(self) -> Origins:
        """The origins whose pages may use this server."""
        origins: Origins = self.scope["extensions"][CONNECTION].origins
        return origins

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Answer in one piece."""
        await Response(body, status, headers)(self.scope, self.receive, self.send)

    async def answer_json(
        self, document: msgspec.Struct | bytes, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with a JSON document that no cache may keep. A `document` of bytes is JSON already."""
        body = document if isinstance(document, bytes) else msgspec.json.encode(document)
        await self.answer(status, {"content-type": JSON, **NO_STORE, **(headers or {})}, body)
