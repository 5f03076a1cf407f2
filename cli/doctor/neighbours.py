"""Who else uses the server: workers of this deployment and their versions, other deployments, and other programs."""

import json
import re
from collections import Counter
from typing import Final

from redis.exceptions import RedisError

import turnwire
from turnwire.cli.doctor.findings import Finding, fail, ok, warn
from turnwire.cli.doctor.server import Server
from turnwire.shared import channels, keys

LOOKS: Final = 10
KEYS_A_LOOK: Final = 200
_OWN_PREFIXES: Final = tuple(
    f"{kind}:chat:"
    for kind in ("turn", "steps", "events", "signals", "ledger", "lease", "session", "numbering", "turns", "open")
)


def check_workers(server: Server) -> list[Finding]:
    """Whether a worker has registered, and whether its version is ours."""
    try:
        entries: dict[str, str] = server.redis.hgetall(keys.WORKERS)
    except RedisError:
        return []
    if not entries:
        means = "turns are accepted, and wait until a worker starts"
        return [warn("workers", "no worker has registered", means, "TURNWIRE_HOOKS=module:hooks turnwire worker")]
    versions = Counter(_version(entry) for entry in entries.values())
    told = ", ".join(f"{count} of {version}" for version, count in sorted(versions.items()))
    if set(versions) != {turnwire.__version__}:
        means = "that is normal during an upgrade, and should not last"
        return [warn("workers", f"workers: {told}; this is {turnwire.__version__}", means, "turnwire workers")]
    return [ok("workers", f"workers: {told}")]


def _version(entry: str) -> str:
    try:
        return str(json.loads(entry)["version"])
    except (ValueError, LookupError, TypeError):
        return "an unknown version"


def check_deployments(server: Server, deployment: str) -> list[Finding]:
    """Two deployments may share a server, but neither a database nor a name."""
    alive = channels.alive_channel("", "")
    try:
        found_channels: list[str] = server.redis.pubsub_channels(f"*{alive}*")
        ours = set(server.redis.hkeys(keys.WORKERS))
    except RedisError:
        return []
    found: list[Finding] = []
    others = set()
    for channel in found_channels:
        prefix, _, worker = channel.rpartition(alive)
        name = prefix.removesuffix(":")
        if name == deployment:
            continue
        others.add(name or "the one without a name")
        if worker in ours:
            means = "they take each other's turns, and do not hear of each other's cancels"
            fix = "give each deployment a database of its own, or all processes the same TURNWIRE_DEPLOYMENT"
            found.append(fail("deployments", f"workers of the deployment {name!r} use this database, too", means, fix))
            break
    if found:
        return found
    return [ok("deployments", f"others on this server: {', '.join(sorted(others))}" if others else "no other one")]


def check_keyspace(server: Server) -> list[Finding]:
    """Whether other programs keep keys in this database. A sample is looked at."""
    strangers: Counter[str] = Counter()
    seen, cursor = 0, 0
    try:
        for _ in range(LOOKS):
            cursor, names = server.redis.scan(cursor, count=KEYS_A_LOOK)
            seen += len(names)
            strangers.update(_kind(name) for name in names if not _is_ours(name))
            if not cursor:
                break
    except RedisError:
        return []
    if not strangers:
        return [ok("keyspace", f"of {seen} keys, none is of another program")]
    examples = ", ".join(repr(kind) for kind, _ in strangers.most_common(3))
    text = f"other programs keep keys in this database, such as {examples}"
    means = "a FLUSHDB of theirs deletes every turn, and their keys take up the memory of turns"
    return [warn("keyspace", text, means, "give Turnwire a database, or better a server, of its own")]


def _is_ours(name: str) -> bool:
    own = (keys.HINTS.partition(":")[0] + ":", keys.QUEUE.partition(":")[0] + ":")
    return name.startswith((*_OWN_PREFIXES, *own))


def _kind(name: str) -> str:
    return re.split(r"[:{]", name, maxsplit=1)[0][:40]
