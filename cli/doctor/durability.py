"""Whether the server can lose or refuse writes: version, persistence, eviction, memory, replicas, cluster mode."""

import re
from typing import Final

from turnwire.cli.doctor.findings import Finding, fail, ok, warn
from turnwire.cli.doctor.server import Server

MIB: Final = 1024 * 1024
SMALL_BACKLOG: Final = 16 * MIB
LONG_LAG_S: Final = 2
MUCH, TOO_MUCH = 0.75, 0.90  # of memory, or of the connections
OLDEST_REDIS, OLDEST_VALKEY = (6, 2), (8, 0)


def check_version(server: Server) -> list[Finding]:
    """Redis 6.2 or later, or Valkey 8 or later."""
    info = server.info
    if not info:
        means = "most checks below know nothing, and nobody notices that a server has become a replica"
        return [warn("version", "the user may not ask for INFO", means, "redis-cli ACL SETUSER <user> +info")]
    is_valkey = "valkey_version" in info
    text = str(info.get("valkey_version" if is_valkey else "redis_version", ""))
    name = f"{'Valkey' if is_valkey else 'Redis'} {text}"
    numbers = tuple(int(digits) for digits in re.findall(r"\d+", text)[:2])
    if numbers < (OLDEST_VALKEY if is_valkey else OLDEST_REDIS):
        means = "its scripts use commands that this server does not have"
        return [fail("version", f"{name} is too old", means, "install Redis 6.2 or later, or Valkey 8 or later")]
    if any(other in info for other in ("dragonfly_version", "keydb_version", "kvrocks_version")):
        return [warn("version", f"{name} is a server of another kind", "Turnwire was not tested with it")]
    return [ok("version", name)]


def check_persistence(server: Server) -> list[Finding]:
    """The append-only file, and whether it can be written."""
    info, config = server.info, server.config
    if not info:
        return []
    if server.number("loading"):
        return [warn("persistence", "the server is still reading its data", "it answers nothing else meanwhile")]
    found = []
    if not server.number("aof_enabled"):
        means = "when the server is killed, every accepted turn that no RDB file holds is lost"
        found.append(fail("persistence", "there is no append-only file", means, _set("appendonly yes")))
    elif info.get("aof_last_write_status") == "err":
        means = "the server refuses writes, so no turn is accepted"
        found.append(fail("persistence", "the append-only file cannot be written", means, "make room on its disk"))
    elif config.get("appendfsync") == "no":
        means = "a power cut loses up to 30 s of writes"
        found.append(warn("persistence", "appendfsync is no", means, _set("appendfsync everysec")))
    if info.get("aof_last_bgrewrite_status") == "err":
        means = "the append-only file grows until the disk is full"
        found.append(
            warn("persistence", "the last rewrite of the append-only file failed", means, "redis-cli BGREWRITEAOF")
        )
    if info.get("rdb_last_bgsave_status") == "err" and config.get("stop-writes-on-bgsave-error") != "no":
        means = "the server refuses writes until a snapshot succeeds"
        found.append(
            fail("persistence", "the last RDB snapshot failed", means, "redis-cli BGSAVE, and look into its log")
        )
    synced = f", appendfsync {config['appendfsync']}" if config.get("appendfsync") else ""
    return found or [ok("persistence", f"there is an append-only file{synced}")]


def check_eviction(server: Server) -> list[Finding]:
    """A full server must refuse writes, and not delete turns."""
    policy = server.info.get("maxmemory_policy")
    if policy is None:
        return []
    if policy != "noeviction":
        means = "when its memory is full, the server deletes running turns, leases and jobs without a word"
        return [fail("eviction", f"maxmemory-policy is {policy}", means, _set("maxmemory-policy noeviction"))]
    return [ok("eviction", "maxmemory-policy is noeviction")]


def check_memory(server: Server) -> list[Finding]:
    """How much room is left."""
    used, limit = server.number("used_memory"), server.number("maxmemory")
    whole = limit or server.number("total_system_memory")
    if not used or not whole:
        return []
    of = "maxmemory" if limit else "the memory of its machine (maxmemory is not set)"
    text = f"{used / MIB:,.0f} MiB are in use, {used / whole:.0%} of {of}"
    fix = "redis-cli CONFIG SET maxmemory <bytes>, or let turns expire sooner: TURNWIRE_RETENTION_S"
    if used / whole >= TOO_MUCH:
        return [fail("memory", text, "a full server refuses new turns with 503, and running turns wait", fix)]
    if used / whole >= MUCH:
        return [warn("memory", text, "a full server refuses new turns with 503", fix)]
    return [ok("memory", text)]


def check_clients(server: Server) -> list[Finding]:
    """How many connections are left."""
    connected = server.number("connected_clients")
    most = server.number("maxclients") or int(server.config.get("maxclients", 0))
    if not connected or not most:
        return []
    text = f"{connected} of {most} connections are open"
    if connected / most >= MUCH:
        means = "processes that start later cannot connect; a worker takes up to 12 connections, an API up to 9"
        return [warn("connections", text, means, _set(f"maxclients {2 * most}"))]
    return [ok("connections", text)]


def check_replicas(server: Server, wanted: int) -> list[Finding]:
    """Whether a failover has somewhere to go, and what it would lose. `wanted`: TURNWIRE_REDIS_REPLICAS."""
    if not server.info:
        return []
    if server.info.get("role") == "slave":
        means = "every write is refused; Turnwire leaves such a server"
        return [fail("replicas", "the server is a replica", means, "set the URL to the primary, or name its Sentinels")]
    connected = server.number("connected_slaves")
    if wanted > connected:
        means = "each write that must reach a replica is answered with 503"
        text = f"{connected} replicas are connected, and TURNWIRE_REDIS_REPLICAS is {wanted}"
        return [fail("replicas", text, means, "connect replicas, or unset TURNWIRE_REDIS_REPLICAS")]
    if not connected and server.names_sentinels:
        return [fail("replicas", "no replica is connected", "a failover has nowhere to go", "start a replica")]
    if not connected:
        return [ok("replicas", "the server stands alone: there is no failover")]
    return _failover(server, connected)


def _failover(server: Server, connected: int) -> list[Finding]:
    config, found = server.config, []
    lag_s = int(config.get("min-replicas-max-lag", LONG_LAG_S))
    if config.get("min-replicas-to-write") == "0":
        means = "a primary that has lost its replicas goes on taking writes, and a failover loses all of them"
        fix = f"{_set('min-replicas-to-write 1')}; {_set('min-replicas-max-lag 2')}"
        found.append(warn("replicas", "min-replicas-to-write is 0", means, fix))
    elif lag_s > LONG_LAG_S:
        means = f"a failover may lose the writes of {lag_s} s"
        found.append(warn("replicas", f"min-replicas-max-lag is {lag_s}", means, _set("min-replicas-max-lag 2")))
    backlog = int(config.get("repl-backlog-size", SMALL_BACKLOG))
    if backlog < SMALL_BACKLOG:
        means = "a replica that was away for a moment is copied as a whole"
        found.append(
            warn("replicas", f"repl-backlog-size is {backlog / MIB:g} MiB", means, _set("repl-backlog-size 64mb"))
        )
    return found or [ok("replicas", f"{connected} replicas are connected")]


def check_cluster(server: Server) -> list[Finding]:
    """Turnwire wants one primary, not a cluster."""
    if not server.number("cluster_enabled"):
        return [ok("cluster", "cluster mode is off")] if server.info else []
    slots = ""
    try:
        state = server.redis.execute_command("CLUSTER", "INFO")
        known = state if isinstance(state, dict) else dict(line.split(":") for line in state.split() if ":" in line)
        slots = f"; {known.get('cluster_slots_ok')} of 16384 slots are served"
    except Exception:  # noqa: BLE001 - what is known already is enough
        slots = ""
    means = "the queue's keys lie in several slots, so its scripts are refused"
    return [
        fail("cluster", f"cluster mode is on{slots}", means, "use a server without cluster mode, or Redis Sentinel")
    ]


def _set(setting: str) -> str:
    return f"redis-cli CONFIG SET {setting} && redis-cli CONFIG REWRITE"
