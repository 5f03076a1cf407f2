"""Lets the pages of other origins use the API from a browser: cross-origin resource sharing (CORS).

Starlette's CORSMiddleware is not used. It cannot reach the answers that Starlette gives to a defect and that
protocol.py gives to a request that it refuses, and a browser hides an answer without these headers from its page.
"""

import re
from collections.abc import Iterable
from typing import Final

from turnwire.api.edge.problems import ForeignPage

Header = tuple[bytes, bytes]

METHODS: Final = "GET, HEAD, POST, DELETE"
REQUEST_HEADERS: Final = (
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer, traceparent, tracestate, x-api-key, "
    "X-Request-Id"
)
RESPONSE_HEADERS: Final = (
    "Location, Content-Location, Idempotent-Replayed, Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate, "
    "X-Request-Id"
)
MAX_AGE_S: Final = 7200  # the longest time for which Chromium keeps the answer to a preflight
NOSNIFF: Final = (b"x-content-type-options", b"nosniff")

_DEFAULT_PORT = re.compile(r"(?<=^https)(://.*):443$|(?<=^http)(://.*):80$")
_VARY: Final = (b"vary", b"Origin")


class Origins:
    """The origins whose pages may use the API, as `TURNWIRE_CORS_ORIGINS` names them; None: none.

    `https://*.example.com` stands for every host below `example.com`. A browser writes an origin in lower case and
    without the default port of its scheme. Cookies are not used, so no answer allows credentials of the browser.
    """

    def __init__(self, setting: str | None = None) -> None:
        named = {_as_browsers_write(part.strip()) for part in (setting or "").split(",") if part.strip()}
        self._exact = frozenset(origin for origin in named if "*" not in origin)
        self._below = tuple(origin.removeprefix("https://*") for origin in sorted(named - self._exact))
        self.any = bool(named)  # whether the pages of any other origin may use the API
        self._answer: list[Header] = [NOSNIFF, _VARY] if named else [NOSNIFF]

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin, as the browser writes it, may use the API."""
        return origin in self._exact or (
            bool(self._below) and origin.startswith("https://") and origin.endswith(self._below)
        )

    def headers(self, request: Iterable[Header]) -> list[Header]:
        """The headers of every answer to a request with these headers, whose names are in lower case."""
        if self.any:
            for name, value in request:
                if name == b"origin" and self.allows(value.decode("latin-1")):
                    exposed = (b"access-control-expose-headers", RESPONSE_HEADERS.encode())
                    return [*self._answer, (b"access-control-allow-origin", value), exposed]
        return self._answer

    def preflight(self, origin: str) -> dict[str, str]:
        """The headers that answer a browser which asks whether a page may send a request.

        Raises:
            ForeignPage: the page may not.
        """
        if not self.allows(origin):
            raise ForeignPage("a page of this origin may not use this server (TURNWIRE_CORS_ORIGINS)")
        return {
            "access-control-allow-methods": METHODS,
            "access-control-allow-headers": REQUEST_HEADERS,
            "access-control-max-age": str(MAX_AGE_S),
        }


def _as_browsers_write(origin: str) -> str:
    return _DEFAULT_PORT.sub(r"\1\2", origin.lower())
