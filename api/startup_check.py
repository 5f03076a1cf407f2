"""`python -m api --check` does everything that comes before serving, says what it found, and exits."""

import asyncio
from collections.abc import Mapping

from turnwire.api.durability import durability_problems
from turnwire.api.edge.site import is_loopback
from turnwire.api.server import check_bind
from turnwire.api.services import Services
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import disconnect
from turnwire.shared.store.startup_check import redis_lines, say_checked, settings_line


def check(settings: Settings, environ: Mapping[str, str]) -> int:
    """Read what the settings name, and ask Redis. Returns the exit status: 1 if Redis does not answer.

    Raises:
        SettingsError: a setting, or a file that it names, cannot be used.
    """
    check_bind(settings)
    return asyncio.run(_check(settings, environ))


async def _check(settings: Settings, environ: Mapping[str, str]) -> int:
    services = Services(settings)
    say_checked("api", [settings_line(environ), *_access(services), _models(services)], environ)
    try:
        lines = await redis_lines(settings, services.redis, services.queue_redis)
        problems = await durability_problems(services.redis, fails_over=settings.names_sentinels)
    except StoreUnavailable as error:
        say_checked("api", [f"not ready: {error}"], environ)
        return 1
    finally:
        await services.door.close()
        await disconnect(services.redis, services.queue_redis)
    say_checked("api", [*lines, *(f"warning: {problem}" for problem in problems), "ready to start"], environ)
    return 0


def _access(services: Services) -> list[str]:
    settings = services.settings
    reach = "only this machine reaches it" if is_loopback(settings.host) else "others can reach it"
    lines = [f"address: {settings.host} port {settings.port}, {reach}"]
    if not settings.authenticates:
        return [*lines, "access: nobody is asked for credentials"]
    keys = services.key_file.content.named
    asked = []
    if settings.api_keys_file:
        tenants = {key.tenant for key in keys.values()}
        asked.append(f"{len(keys)} API keys of {len(tenants)} tenants")
    if settings.makes_tokens:
        asked.append("session tokens")
    if settings.takes_jwt:
        asked.append("tokens of an identity provider")
    return [*lines, f"access: {', '.join(asked)}"]


def _models(services: Services) -> str:
    names = services.models.names
    return f"models: {', '.join(names)}" if names else "models: the product decides which names may be asked"
