"""Whether the user may do everything that Turnwire does. `ACL DRYRUN` tells it; else each command is tried.

A try uses a key of its own, which is gone afterwards, and reads or changes nothing else.
"""

from typing import Any, Final

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from turnwire.cli.doctor.findings import Finding, fail, ok, warn
from turnwire.cli.doctor.server import Server
from turnwire.shared import channels, keys
from turnwire.shared.settings import Settings

Command = tuple[str, ...]

PROBE: Final = keys.claims("doctor")
TURN: Final = keys.session_key("turnwire-doctor").turn(0)

# The commands of both processes, with arguments that change nothing: the probe holds a text, so that a command for
# another type is refused, but only once it was permitted. The order matters to a try: the probe comes and goes.
COMMON: Final[tuple[Command, ...]] = (
    ("set", PROBE, "x"), ("persist", PROBE), ("pexpire", PROBE, "5000"), ("ping",), ("time",),
    ("eval", "return 1", "0"), ("evalsha", "0" * 40, "0"), ("get", PROBE), ("mget", PROBE), ("exists", PROBE),
    ("pttl", PROBE), ("hget", PROBE, "f"), ("hgetall", PROBE), ("hmget", PROBE, "f"), ("hset", PROBE, "f", "v"),
    ("hsetnx", PROBE, "f", "v"), ("hdel", PROBE, "f"), ("hexists", PROBE, "f"), ("hincrby", PROBE, "f", "1"),
    ("hkeys", PROBE), ("hlen", PROBE), ("sadd", PROBE, "m"), ("srem", PROBE, "m"), ("smembers", PROBE),
    ("scard", PROBE), ("srandmember", PROBE), ("zadd", PROBE, "1", "m"), ("zrem", PROBE, "m"), ("zcard", PROBE),
    ("zrange", PROBE, "0", "0"), ("zrangebylex", PROBE, "-", "+"), ("zrangebyscore", PROBE, "0", "1"),
    ("zrevrange", PROBE, "0", "0"), ("zrevrangebyscore", PROBE, "1", "0"), ("zremrangebyscore", PROBE, "0", "1"),
    ("zremrangebyrank", PROBE, "0", "0"), ("zscore", PROBE, "m"), ("zmscore", PROBE, "m"), ("zpopmin", PROBE),
    ("xadd", PROBE, "1-1", "f", "v"), ("xdel", PROBE, "1-1"), ("xlen", PROBE), ("xrange", PROBE, "-", "+"),
    ("xrevrange", PROBE, "+", "-"), ("rpush", PROBE, "m"), ("ltrim", PROBE, "0", "0"), ("publish", TURN.events, "x"),
    ("del", PROBE), ("unlink", PROBE),
)  # fmt: skip
SUBSCRIBING: Final[tuple[Command, ...]] = (("subscribe", TURN.events), ("unsubscribe", TURN.events))
WORKERS_ONLY: Final[tuple[Command, ...]] = (
    ("psetex", PROBE, "1", "x"), ("blpop", PROBE, "0.01"), ("scan", "0", "COUNT", "1"),
)  # fmt: skip
APIS_ONLY: Final[tuple[Command, ...]] = (("hstrlen", PROBE, "f"), ("memory", "usage", PROBE))
OPTIONAL: Final[dict[Command, str]] = {  # and what does not work without them
    ("info", "server"): "nobody notices that a server has become a replica before the first write to it",
    ("pubsub", "numsub", TURN.events): "a killed worker is replaced only when its lease ends",
    ("client", "setinfo", "lib-name", "turnwire"): "the server's list of clients does not say who they are",
    ("config", "get", "appendfsync"): "this check, and an API at its start, know less about what a crash would lose",
}
WAIT: Final[Command] = ("wait", "0", "1")

# A write to each kind of key, which changes nothing: of turns, and of the queue.
DATA_KEYS: Final[tuple[Command, ...]] = (
    *(("pexpire", name, "1") for name in [*TURN.all_keys(), TURN.session.numbering]), ("pexpire", PROBE, "5000"),
)  # fmt: skip
QUEUE_KEYS: Final[tuple[Command, ...]] = (
    ("hdel", keys.WORKERS, "turnwire-doctor"), ("zrem", keys.OPEN_TURNS, "turnwire-doctor"),
    ("zrem", keys.QUEUE, "turnwire-doctor"), ("pexpire", keys.job("doctor"), "1"),
    ("pexpire", keys.in_progress("doctor"), "1"),
)  # fmt: skip


def common_channels(deployment: str) -> list[str]:
    """Return the channels of both processes: of a turn's events, of cancels, and the beginning of those of workers."""
    return [TURN.channel(deployment), channels.cancels_channel(deployment), channels.alive_channel(deployment, "")]


def check_permissions(server: Server, settings: Settings) -> list[Finding]:
    """Ask for every command, key and channel that is needed on this server."""
    deployment, replicas = settings.deployment_name, settings.redis_replicas
    own_keys = DATA_KEYS if server.url == settings.redis_url else ()
    own_keys += QUEUE_KEYS if server.url == settings.queue_url else ()
    may = _Permissions(server)
    missing = [_rule(command) for command in (*COMMON, *SUBSCRIBING) if not may(command)]
    missing += [_rule(WAIT)] if replicas and not may(WAIT) else []
    places = [f"'~{pattern_of(command[1])}'" for command in own_keys if not may(command)]
    missing += [*dict.fromkeys(places), *may.channels(common_channels(deployment))]
    for_workers = [_rule(command) for command in WORKERS_ONLY if not may(command)]
    found = []
    if missing:
        found.append(
            fail("permissions", *may.lacking(missing, "requests are answered with errors, and turns do not run"))
        )
    if for_workers:
        found.append(warn("permissions", *may.lacking(for_workers, "this is enough for an API, but not for a worker")))
    for_apis = [_rule(command) for command in APIS_ONLY if not may(command)]
    for_apis += may.channels([channels.revoked_channel(deployment)])
    if for_apis:
        found.append(warn("permissions", *may.lacking(for_apis, "this is enough for a worker, but not for an API")))
    for command, means in OPTIONAL.items():
        if not may(command):
            found.append(warn("permissions", *may.lacking([_rule(command)], means)))
    return found or [ok("permissions", f"{may.who} may do everything that Turnwire does")]


class _Permissions:
    """Answers whether the user of the connection may send a command."""

    def __init__(self, server: Server) -> None:
        self._redis = server.redis
        self.user = _asked(self._redis, "ACL", "WHOAMI")
        self.who = f"user {self.user}" if self.user else "the user"
        self._asks = self.user is not None and self._dry(("ping",)) is not None

    def __call__(self, command: Command) -> bool:
        if self._asks:
            answer = self._dry(command)
            return answer is None or answer == "OK"
        return self._tried(command)

    def lacking(self, rules: list[str], means: str) -> tuple[str, str, str]:
        """Return the text, the meaning and the fix of a finding: these rules are missing."""
        words = " ".join(rules)
        return f"{self.who} lacks {words}", means, f"redis-cli ACL SETUSER {self.user or '<user>'} {words}"

    def channels(self, names: list[str]) -> list[str]:
        """Return the rules for those of these channels that the user may not use. Nothing is published on one."""
        if self._asks:
            return [channel_rule(name) for name in names if not self(("publish", name, "x"))]
        if not self(SUBSCRIBING[0]):
            return []  # then nobody can tell, before the user may subscribe at all
        return [channel_rule(name) for name in names if not self(("subscribe", name))]

    def _dry(self, command: Command) -> str | None:
        """Return what ACL DRYRUN says; None: it cannot say."""
        return _asked(self._redis, "ACL", "DRYRUN", str(self.user), *command)

    def _tried(self, command: Command) -> bool:
        try:
            if command[0] in {"subscribe", "unsubscribe"}:
                with self._redis.pubsub() as subscription:
                    getattr(subscription, command[0])(*command[1:])
                    return subscription.get_message(timeout=1) is not None or command[0] == "unsubscribe"
            self._redis.execute_command(*command)
        except NoPermissionError:
            return False
        except ResponseError as error:
            return "NOPERM" not in str(error)
        return True


def _asked(redis: Any, *command: str) -> str | None:
    try:
        return str(redis.execute_command(*command))
    except RedisError:
        return None


def _named(command: Command) -> str:
    """Return the name of a command as ACL rules spell it."""
    return "|".join(command[: 2 if command[0] in {"client", "config", "memory", "pubsub"} else 1])


def _rule(command: Command) -> str:
    """Return the rule that permits a command, as it is pasted into a shell."""
    name = _named(command)
    return f"'+{name}'" if "|" in name else f"+{name}"


def pattern_of(key: str) -> str:
    """Return the pattern of the keys of this kind, as the documentation's rules have it."""
    kind, _, rest = key.partition(":")
    return f"{kind}:chat:*" if rest.startswith("chat:") else f"{kind}:*"


def channel_rule(channel: str) -> str:
    """Return the rule for a channel: of a turn, for all turns, as the documentation has it."""
    name = channel.partition("{")[0]
    return f"'&{name}*'" if name != channel or name.endswith(":") else f"'&{name}'"
