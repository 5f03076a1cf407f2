"""Finds keys that no module owns, and keys that would stay for ever after their turn has ended."""

import re

from redis.asyncio import Redis

from turnwire.shared import keys
from turnwire.shared.keys import DEFAULT_TENANT, SessionKey, TurnKey
from turnwire.shared.lifecycle import TERMINAL_STATES

_PROBE = SessionKey(DEFAULT_TENANT, "probe")
_TURN_KEY = re.compile(r"(\w+):chat:\{([^{}]+)\}:(\d+)\Z")
_SESSION_KEY = re.compile(r"(\w+):chat:\{([^{}]+)\}\Z")
_ENDED = {state.value.encode() for state in TERMINAL_STATES}
_ARQ_OWN = ("arq:queue:health-check",)  # arq itself writes it, and it expires


def _properties(owner: type) -> list[str]:
    return [name for name, member in vars(owner).items() if isinstance(member, property)]


def _kinds(probe: SessionKey | TurnKey, pattern: re.Pattern[str]) -> set[str]:
    values = [getattr(probe, name) for name in _properties(type(probe))]
    return {match[1] for value in values if isinstance(value, str) and (match := pattern.match(value))}


TURN_KINDS = _kinds(_PROBE.turn(0), _TURN_KEY)
SESSION_KINDS = _kinds(_PROBE, _SESSION_KEY)
_CONSTANTS = {name: value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)}
QUEUE_PREFIXES = tuple(value for name, value in _CONSTANTS.items() if name.endswith("_PREFIX"))
LINES = (keys.TENANTS_PREFIX, keys.DEBTS_PREFIX, keys.WAITING_PREFIX, keys.AGEING_PREFIX)  # of waiting jobs
QUEUE_KEYS = {value for name, value in _CONSTANTS.items() if ":" in value and not name.endswith("_PREFIX")}


async def find_leaks(redis: Redis) -> list[str]:
    """Return one sentence for each key that should not exist, or should not exist for ever."""
    leaks = []
    for name in sorted(name.decode() for name in await redis.keys("*")):
        if not _owned(name):
            leaks.append(f"{name}: shared/keys.py does not own it")
        elif await redis.pttl(name) == -1 and (why := await _why_it_should_end(redis, name)):
            leaks.append(f"{name}: {why}")
    return leaks


def _owned(name: str) -> bool:
    if match := _TURN_KEY.match(name):
        return match[1] in TURN_KINDS
    if match := _SESSION_KEY.match(name):
        return match[1] in SESSION_KINDS
    return name.startswith(QUEUE_PREFIXES) or name in QUEUE_KEYS or name in _ARQ_OWN


async def _why_it_should_end(redis: Redis, name: str) -> str | None:
    if match := _TURN_KEY.match(name):
        kind, key = match[1], _session(match[2]).turn(int(match[3]))
        if kind == "lease":
            return "a lease without an end"
        status = await redis.hget(key.record, "status")  # type: ignore[misc]
        if status is None and kind != "signals":  # a signal may come before its turn exists
            return "its turn does not exist"
        return f"its turn is {status.decode()}, but it has no TTL" if status in _ENDED else None
    if match := _SESSION_KEY.match(name):
        is_open = await redis.exists(_session(match[2]).open)
        return None if is_open else "no turn of the session is open, but it has no TTL"
    if name.startswith(keys.BILLED_PREFIX):
        run_id = name.removeprefix(keys.BILLED_PREFIX)
        looks = await redis.zmscore(keys.OPEN_TURNS, [run_id, keys.persist_id(run_id)])
        return None if any(looks) else "nobody looks at its turn any more, but it has no TTL"
    if name.startswith((keys.USAGE_PREFIX, keys.HINTS_PREFIX)):
        return None
    if name.startswith(keys.HELD_PREFIX):
        is_paused = await redis.hexists(keys.PAUSED, name.removeprefix(keys.HELD_PREFIX))  # type: ignore[misc]
        return None if is_paused else "nothing is paused any more, but its jobs are held"
    if name.startswith(LINES):
        return None if await redis.exists(keys.QUEUE) else "no job waits any more, but it is there"
    return "a job or a claim without an end" if name.startswith(QUEUE_PREFIXES) else None


def _session(scope: str) -> SessionKey:
    tenant, tilde, session = scope.partition("~")
    return SessionKey(tenant, session) if tilde else SessionKey(DEFAULT_TENANT, scope)
