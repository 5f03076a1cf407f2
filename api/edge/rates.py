"""How fast a tenant may send requests: a bucket for each tenant in this process, and the header fields that tell of it.

A request for a turn is counted in Redis as well, so that several API processes accept no more turns than one alone.
The fields are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.types import Message, Send

from turnwire.shared.errors import RateLimited
from turnwire.shared.limits import Limits

MOST_BUCKETS: Final = 10_000  # more are tidied up


class Rate(msgspec.Struct, frozen=True):
    """What is left of a tenant's rate: `left` requests now, and after `reset_s` seconds all of `burst` again.

    `window_s`: in so many seconds the tenant may send `burst` requests in the long run.
    """

    burst: int
    window_s: int
    left: int
    reset_s: float

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the header fields of an answer."""
        policy = f'"requests";q={self.burst};w={self.window_s}'
        state = f'"requests";r={self.left};t={math.ceil(self.reset_s)}'
        return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", state.encode())]

    def at_most(self, left: int) -> "Rate":
        """Return the rate if Redis says that so many requests are left."""
        return msgspec.structs.replace(self, left=min(self.left, left))


class Rates:
    """The buckets of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at_s: dict[str, float] = {}  # tenant -> when its bucket is full again

    def take(self, tenant: str, limits: Limits) -> Rate | None:
        """Count a request. Returns what is left; None if the tenant has no limit.

        Raises:
            RateLimited: the tenant's bucket is empty.
        """
        if limits.requests_per_s is None:
            return None
        now_s, each_s = self._clock(), 1 / limits.requests_per_s
        full_at_s = max(self._full_at_s.get(tenant, 0.0), now_s)
        wait_s = full_at_s + each_s - now_s - limits.burst * each_s
        if wait_s > 1e-9:
            raise RateLimited.after(math.ceil(wait_s * 1000))
        if len(self._full_at_s) >= MOST_BUCKETS:
            self._full_at_s = {name: at_s for name, at_s in self._full_at_s.items() if at_s > now_s}
        self._full_at_s[tenant] = full_at_s + each_s
        reset_s = full_at_s + each_s - now_s
        return Rate(limits.burst, limits.window_s, int(limits.burst - reset_s / each_s + 1e-9), reset_s)


def telling(send: Send, rate: Callable[[], Rate | None]) -> Send:
    """Return a `send` that adds the header fields of the rate, as it is when the answer begins."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start" and (known := rate()) is not None:
            message = {**message, "headers": [*message.get("headers", []), *known.headers()]}
        await send(message)

    return told
