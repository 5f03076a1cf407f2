"""When keys expire, on every version of Redis: PEXPIRETIME is as young as Redis 7."""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

# The time is read before and after the time that the key has left. Only if it stood still, their sum is exact.
EXPIRES_AT: Final = """
local function now_ms()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function expires_at(key)
    while true do
        local before, left = now_ms(), redis.call('PTTL', key)
        if left < 0 then
            return left
        end
        if now_ms() == before then
            return before + left
        end
    end
end
"""


async def expiries(redis: Redis, names: Sequence[bytes]) -> list[int]:
    """For each key the Unix time in ms at which it expires; -1 for never, -2 for no such key."""
    script = EXPIRES_AT + "local ends = {} for i, key in ipairs(KEYS) do ends[i] = expires_at(key) end return ends"
    found: list[int] = await redis.eval(script, len(names), *names)
    return found
