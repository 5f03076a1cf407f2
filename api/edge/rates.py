"""How fast requests may come: a bucket for each tenant and each API key in this process, and the header fields.

A request for a turn is counted in Redis as well, so that several API processes accept no more turns than one alone.
The fields are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from starlette.types import Message, Send

from turnwire.shared.errors import RateLimited
from turnwire.shared.limits import Allowance, Limits

MOST_BUCKETS: Final = 10_000  # more are tidied up
POLICIES: Final = {"tenant": "requests", "key": "key-requests"}  # the names of the policies in the fields


class Rate(msgspec.Struct, frozen=True):
    """What is left of a rate: `left` requests now, and after `reset_s` seconds all of `burst` again.

    `window_s`: in so many seconds `burst` requests may come in the long run. `holder`: `tenant` or `key`.
    """

    burst: int
    window_s: int
    left: int
    reset_s: float
    holder: str = "tenant"

    def at_most(self, left: int) -> "Rate":
        """Return the rate if Redis says that so many requests are left."""
        return msgspec.structs.replace(self, left=min(self.left, left))


def rate_fields(rates: Iterable[Rate]) -> list[tuple[bytes, bytes]]:
    """Return the header fields of an answer."""
    policies, states = [], []
    for rate in rates:
        name = POLICIES[rate.holder]
        policies.append(f'"{name}";q={rate.burst};w={rate.window_s}')
        states.append(f'"{name}";r={rate.left};t={math.ceil(rate.reset_s)}')
    return [(b"ratelimit-policy", ", ".join(policies).encode()), (b"ratelimit", ", ".join(states).encode())]


class Rates:
    """The buckets of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at_s: dict[str, float] = {}  # tenant, or tenant/key -> when its bucket is full again

    def take(self, tenant: str, limits: Limits) -> Sequence[Rate]:
        """Count a request. Returns what is left to the tenant, and to the key; nothing of what has no limit.

        Raises:
            RateLimited: one of the buckets is empty. The request is not counted.
        """
        if limits.key is None:
            return () if limits.requests_per_s is None else [self._taken(tenant, "tenant", limits)]
        both = (tenant, "tenant", limits), (limits.key.holder, "key", limits.key)
        counted = [one for one in both if one[2].requests_per_s is not None]
        for name, holder, allowance in counted:
            self._full_after_s(name, holder, allowance)
        return [self._taken(name, holder, allowance) for name, holder, allowance in counted]

    def _taken(self, name: str, holder: str, allowance: Allowance) -> Rate:
        full_after_s = self._full_after_s(name, holder, allowance)
        now_s = self._clock()
        if len(self._full_at_s) >= MOST_BUCKETS:
            self._full_at_s = {name: at_s for name, at_s in self._full_at_s.items() if at_s > now_s}
        self._full_at_s[name] = now_s + full_after_s
        assert allowance.requests_per_s is not None
        left = int(allowance.burst - full_after_s * allowance.requests_per_s + 1e-9)
        return Rate(allowance.burst, allowance.window_s, left, full_after_s, holder)

    def _full_after_s(self, name: str, holder: str, allowance: Allowance) -> float:
        """Return in how many seconds a bucket would be full again after one more request.

        Raises:
            RateLimited: there is no room for the request.
        """
        assert allowance.requests_per_s is not None
        now_s, each_s = self._clock(), 1 / allowance.requests_per_s
        full_after_s = max(self._full_at_s.get(name, 0.0) - now_s, 0.0) + each_s
        wait_s = full_after_s - allowance.burst * each_s
        if wait_s > 1e-9:
            raise RateLimited(
                math.ceil(wait_s * 1000), holder, burst=allowance.burst, window_s=allowance.window_s
            )  # fmt: skip
        return full_after_s


def telling(send: Send, rates: Callable[[], Sequence[Rate]]) -> Send:
    """Return a `send` that adds the header fields of the rates, as they are when the answer begins."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *rate_fields(rates())]}
        await send(message)

    return told
