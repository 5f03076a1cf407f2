"""The report at the start of an API process: does the Redis lose turns in a crash or in a failover, and which ones."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from turnwire.shared.errors import StoreUnavailable

WITHIN_S: Final = 1.0
MIB: Final = 1024 * 1024
SMALL_BACKLOG: Final = 16 * MIB  # with less, a replica that was away for a moment is often copied as a whole
LONG_LAG_S: Final = 2  # the writes of so many seconds, at most, should a failover lose
_OPTIONS: Final = ("appendfsync", "min-replicas-*", "repl-backlog-size")

logger = logging.getLogger(__name__)


async def say_durability(redis: Any, *, fails_over: bool) -> None:
    """Log whether accepted turns survive a crash of Redis, and a failover. It never fails and never waits long.

    Args:
        redis: the client of the data Redis.
        fails_over: its URL names Sentinels.
    """
    try:
        problems = await durability_problems(redis, fails_over=fails_over)
    except StoreUnavailable as error:
        logger.warning("the store does not answer yet (%s); requests are answered with 503 until it does", error)
        return
    for text in problems:
        logger.warning("%s", text)
    if not problems:
        logger.info("the store has an append-only file and evicts nothing")


async def durability_problems(redis: Any, *, fails_over: bool) -> list[str]:
    """Return what a crash of Redis, or a failover, would lose, one sentence each. The arguments are those above.

    Raises:
        StoreUnavailable: Redis does not answer within a second, or refuses. The text says why.
    """
    try:
        async with asyncio.timeout(WITHIN_S):
            info = {**await redis.info("persistence"), **await redis.info("memory"), **await redis.info("replication")}
            options = await _options(redis)
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(str(error) or "no answer in time") from None
    problems = crash_problems(info, options)
    if fails_over or int(info.get("connected_slaves", 0)):
        problems += failover_problems(info, options)
    return problems


async def _options(redis: Any) -> dict[str, str]:
    """Return what may be known of the configuration: often CONFIG is not permitted."""
    try:
        found: dict[str, str] = {}
        for pattern in _OPTIONS:
            found |= await redis.config_get(pattern)
    except ResponseError:
        return {}
    return {_text(name): _text(value) for name, value in found.items()}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def crash_problems(info: Mapping[str, Any], options: Mapping[str, str]) -> list[str]:
    """Return what can lose turns when one server crashes, one sentence each."""
    problems = []
    if int(info.get("aof_enabled", 0)) != 1:
        problems.append("the store has no append-only file: its crash loses accepted turns (set appendonly yes)")
    elif options.get("appendfsync") == "no":
        problems.append("a power cut loses up to 30 s of writes: appendfsync is no (set everysec)")
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        problems.append(f"the store may evict keys of running turns: maxmemory-policy is {policy}, not noeviction")
    return problems


def failover_problems(info: Mapping[str, Any], options: Mapping[str, str]) -> list[str]:
    """Return what a failover would lose, or why there could be none, one sentence each."""
    problems = []
    if not int(info.get("connected_slaves", 0)):
        problems.append("no replica is connected to the store: a failover has nowhere to go")
    lag_s = int(options.get("min-replicas-max-lag", LONG_LAG_S))
    if options.get("min-replicas-to-write") == "0":
        problems.append(
            "a primary that has lost its replicas goes on taking writes, and a failover loses all of them "
            "(set min-replicas-to-write 1 and min-replicas-max-lag 2)"
        )
    elif lag_s > LONG_LAG_S:
        problems.append(f"a failover may lose the writes of {lag_s} s: that is min-replicas-max-lag (set 2)")
    backlog = int(options.get("repl-backlog-size", SMALL_BACKLOG))
    if backlog < SMALL_BACKLOG:
        problems.append(
            f"a replica that was away for a moment is copied as a whole: repl-backlog-size is {backlog / MIB:g} MiB "
            f"(set {SMALL_BACKLOG // MIB}mb)"
        )
    return problems
