"""Runs every check, and shows what was found."""

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec
from redis.exceptions import RedisError

from turnwire.cli import screen
from turnwire.cli.doctor import durability, neighbours, permissions, speed, transport
from turnwire.cli.doctor.findings import Finding, Level, fail
from turnwire.cli.doctor.server import Server, connect
from turnwire.cli.screen import BOLD, DIM, GREEN, RED, YELLOW, painted
from turnwire.shared.errors import SettingsError
from turnwire.shared.settings import Settings

STYLES = {Level.OK: GREEN, Level.WARN: YELLOW, Level.FAIL: RED}


def examine_redis(settings: Settings) -> Iterator[Finding]:
    """Yield what was found of the data Redis, and of the queue Redis if it is another one.

    Raises:
        SettingsError: a URL cannot be read. The text names its variable.
    """
    urls = {"TURNWIRE_REDIS_URL": settings.redis_url}
    if settings.queue_url != settings.redis_url:
        urls["TURNWIRE_QUEUE_REDIS_URL"] = settings.queue_url
    for variable, url in urls.items():
        try:
            server, found = connect(url)
        except SettingsError as error:
            raise SettingsError(f"{variable}: {error}") from None
        if server is not None:
            with server.redis:
                found += [finding for check in _checks(server, settings) for finding in _of(check)]
        yield from (msgspec.structs.replace(finding, where=variable) for finding in found)


def _checks(server: Server, settings: Settings) -> list[Callable[[], list[Finding]]]:
    name, replicas = settings.deployment_name, settings.redis_replicas
    checks = [
        durability.check_version, durability.check_persistence, durability.check_eviction, durability.check_memory,
        durability.check_clients, lambda it: durability.check_replicas(it, replicas), durability.check_cluster,
        transport.check_transport, speed.check_latency, speed.check_clock, speed.check_scripts,
        lambda it: speed.check_messages(it, name), lambda it: permissions.check_permissions(it, settings),
        lambda it: neighbours.check_deployments(it, name), neighbours.check_keyspace,
    ]  # fmt: skip
    if server.url == settings.queue_url:
        checks.append(neighbours.check_workers)
    return [lambda check=check: check(server) for check in checks]  # type: ignore[misc]


def _of(check: Callable[[], list[Finding]]) -> list[Finding]:
    """Return what a check finds. A server that refuses to answer it is a finding, too."""
    try:
        return check()
    except (RedisError, OSError) as error:
        return [fail("connection", f"a check was not possible: {error}", "the server refuses, or is gone")]


def show(found: list[Finding]) -> None:
    """Write the findings for people."""
    levels = Counter(finding.level for finding in found)
    where = ""
    for finding in found:
        if finding.where != where:
            where = finding.where
            screen.say(("" if finding is found[0] else "\n") + painted(screen.visible(where), BOLD))
        level = painted(finding.level.value.upper().ljust(4), STYLES[finding.level])
        screen.say(f"{level}  {finding.check.ljust(11)}  {screen.visible(finding.text)}")
        for word, text in (("means", finding.meaning), ("fix", finding.fix)):
            if text:
                screen.say(f"      {' ' * 11}  {painted(word.ljust(5), DIM)}  {screen.visible(text)}")
    screen.say()
    warnings = f"{levels[Level.WARN]} {'warning' if levels[Level.WARN] == 1 else 'warnings'}"
    screen.say(f"{levels[Level.FAIL]} failed, {warnings}, {levels[Level.OK]} fine")
