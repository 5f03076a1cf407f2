"""Makes a span of each request, by the semantic conventions for HTTP servers.

The span of a stream ends when the stream begins, because a client may follow a turn for days. It has neither the query,
which may hold a token, nor the address of the client, nor the name of a user.
"""

from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from turnwire.api.edge.trace_context import trace_context
from turnwire.shared.tracing import Attributes, Span, Tracer, fail_by

STREAMS: Final = (b"text/event-stream", b"application/x-ndjson")
PREFIX: Final = "/v1/"  # probes and pages have no spans
USER: Final = "{user}"  # in the route of paths that name a user
LONGEST_PATH: Final = 512
METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class Traced:
    """An ASGI application around another one. `trusts_clients`: whether a span is a part of its client's trace."""

    def __init__(self, app: ASGIApp, tracer: Tracer, *, trusts_clients: bool) -> None:
        self._app = app
        self._tracer = tracer
        self._trusts_clients = trusts_clients

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        client = trace_context(Headers(scope=scope))
        span = self._tracer.serve(method, _attributes_of(scope, method), client, trusted=self._trusts_clients)
        answered = _Answered(span, method, scope, send)
        span.enter()
        try:
            await self._app(scope, receive, answered)
        except BaseException as error:  # whoever called this answers with 500
            fail_by(span, error)
            raise
        finally:
            span.leave()
            answered.end()


class _Answered:
    """Passes an answer on, and ends the span of its request in time."""

    def __init__(self, span: Span, method: str, scope: Scope, send: Send) -> None:
        self._span = span
        self._method = method
        self._scope = scope
        self._send = send
        self._ended = False

    async def __call__(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self._started(message["status"], message.get("headers", ()))

    def _started(self, status: int, headers: Any) -> None:
        self._span.set({"http.response.status_code": status})
        if status >= 500:
            self._span.fail(str(status))
        if dict(headers).get(b"content-type", b"").startswith(STREAMS):
            self.end()

    def end(self) -> None:
        """End the span, once."""
        if not self._ended:
            self._ended = True
            self._name()
            self._span.end()

    def _name(self) -> None:
        """Name the span after the route, which is known when the router has found it."""
        route, path = getattr(self._scope.get("route"), "path", None), self._scope["path"]
        if route is not None:
            self._span.rename(f"{self._method} {route}")
            self._span.set({"http.route": route})
        self._span.set({"url.path": route if route and USER in route else path[:LONGEST_PATH]})


def _attributes_of(scope: Scope, method: str) -> Attributes:
    attributes: dict[str, str | int] = {"http.request.method": method, "url.scheme": scope["scheme"]}
    if method == "_OTHER":
        attributes["http.request.method_original"] = scope["method"][:32]
    if scope.get("server"):
        host, port = scope["server"]
        attributes["server.address"] = host
        if port is not None:
            attributes["server.port"] = port
    return {**attributes, "network.protocol.version": scope["http_version"]}
