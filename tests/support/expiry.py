"""Tells when keys expire, on every version of Redis. PEXPIRETIME exists only since Redis 7."""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

# The clock is read before and after the keys' remaining times. The sums are exact only if both readings are equal.
EXPIRE_AT: Final = """
local function now_ms()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function expire_at(keys)
    while true do
        local before, ends = now_ms(), {}
        for i, key in ipairs(keys) do
            local left = redis.call('PTTL', key)
            ends[i] = left < 0 and left or before + left
        end
        if now_ms() == before then
            return ends
        end
    end
end
"""


async def expiries(redis: Redis, names: Sequence[bytes]) -> list[int]:
    """Return for each key the Unix time in ms at which it expires: -1 if never, -2 if there is no such key."""
    script = EXPIRE_AT + "return expire_at(KEYS)"
    found: list[int] = await redis.eval(script, len(names), *names)  # type: ignore[misc, arg-type]
    return found
