"""What `--check` of a process says about its Redis servers, and how it says everything else."""

import asyncio
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from redis.exceptions import NoPermissionError, RedisError

from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.logs import without_secrets
from turnwire.shared.settings import PREFIX, Settings

WITHIN_S: Final = 5.0


def say_checked(process: str, lines: Iterable[str], environ: Mapping[str, str]) -> None:
    """Print what was found, each line behind the name of the process, without secrets."""
    sys.stdout.write(without_secrets("".join(f"turnwire {process}: {line}\n" for line in lines), environ))
    sys.stdout.flush()


def settings_line(environ: Mapping[str, str]) -> str:
    """Return which settings are given, by their names, as their values may be secret."""
    given = sorted(name for name, value in environ.items() if name.startswith(PREFIX) and value)
    return f"settings: {', '.join(given) or 'the defaults'}"


async def redis_lines(settings: Settings, data: Any, queue: Any) -> list[str]:
    """Ask both servers who they are.

    Args:
        settings: of the process.
        data: the client of the data Redis.
        queue: the client of the queue Redis; it may be the same one.

    Returns: a line for each server.

    Raises:
        StoreUnavailable: one does not answer, or it is no primary. The text names its variable, and says why.
    """
    clients = {"TURNWIRE_REDIS_URL": data} | ({} if queue is data else {"TURNWIRE_QUEUE_REDIS_URL": queue})
    return [await _asked(variable, client, settings) for variable, client in clients.items()]


async def _asked(variable: str, client: Any, settings: Settings) -> str:
    try:
        async with asyncio.timeout(min(WITHIN_S, settings.redis_timeout_s)):
            began_s = time.perf_counter()
            await client.ping()
            took_ms = (time.perf_counter() - began_s) * 1000
            who = await _name(client)
    except (RedisError, OSError, TimeoutError) as error:
        why = str(error) or "no answer in time"
        raise StoreUnavailable(f"{variable}: {why}") from None
    return f"{variable}: {who} answers in {took_ms:.1f} ms"


async def _name(client: Any) -> str:
    try:
        server = await client.info("server")
    except NoPermissionError:
        return "a server that may not be asked for INFO"
    if "valkey_version" in server:
        return f"Valkey {server['valkey_version']}"
    return f"Redis {server.get('redis_version', 'of an unknown version')}"
