"""`turnwire doctor` against real servers: what is wrong with them is found, and what to paste mends it."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import turnwire as package
from stack.process import free_port
from stack.redis_server import RedisServer, server_version
from tests.cli.asking import Turnwire
from tests.support.redis_users import TURNWIRE_USERS, url_as, users_of
from turnwire.cli.doctor import durability, permissions
from turnwire.cli.doctor.findings import Level
from turnwire.cli.doctor.server import Server
from turnwire.shared import channels, keys

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("doctor") / "redis", aof=True, fsync="everysec") as server:
        yield server


@pytest.fixture
def admin(server: RedisServer) -> Iterator[Any]:
    """A client that may do everything. Its server is as it should be again afterwards."""
    with Redis.from_url(server.url, decode_responses=True) as client:
        yield client
        client.flushall()
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 0)


async def examine(server_url: str, *, code: int, **env: str) -> dict[str, list[dict[str, Any]]]:
    """Return what the doctor finds, by check."""
    result = await Turnwire("")("doctor", "--json", code=code, env={"TURNWIRE_REDIS_URL": server_url, **env})
    document = json.loads(result.stdout)
    assert document["is_well"] == (code == 0)
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in document["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


def levels(findings: list[dict[str, Any]]) -> list[str]:
    return [finding["level"] for finding in findings]


async def test_a_good_server_and_api_are_well(url: str, server: RedisServer, admin: Any):
    admin.hset(keys.WORKERS, "host/1/a", json.dumps({"version": package.__version__}))
    result = await Turnwire(url)("doctor", env={"TURNWIRE_REDIS_URL": server.url})
    assert result.stdout.startswith("TURNWIRE_REDIS_URL\nOK    connection   the server answers\n")
    assert "OK    permissions  user default may do everything that Turnwire does" in result.stdout
    assert f"OK    workers      workers: 1 of {package.__version__}" in result.stdout
    assert "OK    api          it is ready" in result.stdout
    assert "0 failed, " in result.stdout.splitlines()[-1]
    assert admin.dbsize() == 1, "it leaves no key behind"


async def test_what_loses_turns_is_found_and_its_fix_mends_it(server: RedisServer, admin: Any):
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.config_set("appendonly", "no")
    admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 100_000)
    found = await examine(server.url, code=1)
    assert (levels(found["eviction"]), levels(found["persistence"])) == (["fail"], ["fail"])
    assert levels(found["memory"]) == ["fail"]
    admin.config_set("maxmemory", 0)
    for finding in found["eviction"] + found["persistence"]:
        words = shlex.split(finding["fix"].partition(" && ")[0])
        assert words[:3] == ["redis-cli", "CONFIG", "SET"]
        admin.config_set(*words[3:])
    found = await examine(server.url, code=0)
    assert (levels(found["eviction"]), levels(found["persistence"])) == (["ok"], ["ok"])


async def test_warnings_count_only_if_that_is_asked(server: RedisServer, admin: Any):
    env = {"TURNWIRE_REDIS_URL": server.url}
    result = await Turnwire("")("doctor", env=env)
    assert "WARN  workers      no worker has registered" in result.stdout
    await Turnwire("")("doctor", "--strict", code=1, env=env)
    assert "FAIL  api" in (await Turnwire(NOWHERE)("doctor", code=1, env=env)).stdout


async def test_cluster_mode_is_found(tmp_path: Path):
    options = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", str(free_port())]
    with (
        RedisServer(tmp_path / "node", aof=True, fsync="everysec", port=0, options=options) as node,
        Redis.from_url(node.url, decode_responses=True) as client,
    ):
        found = await examine(node.url, code=1)
        assert found["cluster"][0]["text"] == "cluster mode is on; 0 of 16384 slots are served"
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        found = await examine(node.url, code=1)
    [finding] = found["cluster"]
    assert (finding["level"], finding["text"]) == ("fail", "cluster mode is on; 16384 of 16384 slots are served")
    assert "several slots" in finding["meaning"]
    assert "without cluster mode" in finding["fix"]
    assert levels(found["connection"]) == ["ok"], "no other check breaks off"


async def test_a_server_that_is_away_and_a_setting_that_is_wrong():
    found = await examine("redis://:hunter2@127.0.0.1:1/0", code=1)
    assert levels(found["connection"]) == ["fail"]
    assert "hunter2" not in json.dumps(found)
    for value in ("nonsense", "redis://:hunter2@host:port/0", "redis://:hunter2@h/0?no_such_option=1"):
        result = await Turnwire("")("doctor", code=2, env={"TURNWIRE_REDIS_URL": value})
        assert "TURNWIRE_REDIS_URL: " in result.stderr
        assert "hunter2" not in result.stderr


def user(admin: Any, name: str, rules: list[str]) -> None:
    admin.execute_command("ACL", "SETUSER", name, "reset", *rules)


@pytest.mark.parametrize("name", TURNWIRE_USERS)
@pytest.mark.parametrize("asks", [False, True], ids=["tried", "dryrun"])
async def test_the_users_of_deploy_have_every_permission(server: RedisServer, admin: Any, name: str, asks: bool):
    if asks and server_version().startswith("Redis 6"):
        pytest.skip("ACL DRYRUN came with Redis 7")
    rules = users_of("users.acl")[name]
    user(admin, name, [*rules, *(["+acl"] if asks else [])])
    found = await examine(url_as(server.url, name, rules), code=0)
    lacks = "".join(finding["text"] for finding in found["permissions"])
    assert "fail" not in levels(found["permissions"]), lacks
    assert ("+psetex +blpop +scan" in lacks) == (name == "turnwire-api")
    assert "'+config|get'" in lacks
    assert admin.keys("*") == [], "the tries leave no key behind"


@pytest.mark.parametrize("asks", [False, True], ids=["tried", "dryrun"])
async def test_what_a_restricted_user_lacks_is_named_and_the_fix_mends_it(server: RedisServer, admin: Any, asks: bool):
    if asks and server_version().startswith("Redis 6"):
        pytest.skip("ACL DRYRUN came with Redis 7")
    taken = {"+zadd", "+hkeys", "~lease:chat:*", "~arq:*", "&turnwire:cancels"}
    rules = [rule for rule in users_of("users.acl")["turnwire-worker"] if rule not in taken]
    user(admin, "restricted", [*rules, *(["+acl"] if asks else [])])
    found = await examine(url_as(server.url, "restricted", rules), code=1)
    [failed] = [finding for finding in found["permissions"] if finding["level"] == "fail"]
    for rule in ("+zadd", "+hkeys", "~lease:chat:*", "~arq:*", "&turnwire:cancels"):
        assert rule in failed["text"]
    command = shlex.split(failed["fix"])
    assert command[:4] == ["redis-cli", "ACL", "SETUSER", "restricted" if asks else "<user>"]
    admin.execute_command("ACL", "SETUSER", "restricted", *command[4:])
    found = await examine(url_as(server.url, "restricted", rules), code=0)
    assert "fail" not in levels(found["permissions"])


def test_the_doctor_asks_for_the_commands_that_the_users_of_deploy_may_send():
    common = {permissions._named(command) for command in (*permissions.COMMON, *permissions.SUBSCRIBING)}
    common |= {permissions._named(command) for command in permissions.OPTIONAL} - {"config|get"}
    only = {permissions._named(command) for command in permissions.WORKERS_ONLY}
    users = users_of("users.acl")
    permitted = {name: {rule[1:] for rule in users[name] if rule.startswith("+")} for name in TURNWIRE_USERS}
    of_apis = {permissions._named(command) for command in permissions.APIS_ONLY}
    assert permitted == {"turnwire-api": common | of_apis, "turnwire-worker": common | only}


def test_the_doctor_asks_for_the_keys_and_channels_of_these_users():
    places = {f"~{permissions.pattern_of(command[1])}" for command in permissions.DATA_KEYS + permissions.QUEUE_KEYS}
    common = {permissions.channel_rule(channel).strip("'") for channel in permissions.common_channels("")}
    users = {name: set(users_of("users.acl")[name]) for name in TURNWIRE_USERS}
    for rules in users.values():
        assert {rule for rule in rules if rule.startswith("~")} == places
        assert {rule for rule in rules if rule.startswith("&")} - {f"&{channels.revoked_channel('')}"} == common
    assert f"&{channels.revoked_channel('')}" in users["turnwire-api"]


async def test_each_server_of_two_is_asked_for_its_own_keys(server: RedisServer, admin: Any, tmp_path: Path):
    rules = users_of("users.acl")["turnwire-worker"]
    user(admin, "data", [rule for rule in rules if rule != "~arq:*"])
    with RedisServer(tmp_path / "queue", aof=True) as other, Redis.from_url(other.url) as its_admin:
        user(its_admin, "queue", [rule for rule in rules if ":chat:" not in rule or rule.startswith("&")])
        queue_url = url_as(other.url, "queue", rules)
        found = await examine(url_as(server.url, "data", rules), code=0, TURNWIRE_QUEUE_REDIS_URL=queue_url)
    assert [finding["where"] for finding in found["version"][:2]] == ["TURNWIRE_REDIS_URL", "TURNWIRE_QUEUE_REDIS_URL"]
    assert "fail" not in levels(found["permissions"])


async def test_neighbours_are_found(server: RedisServer, admin: Any):
    admin.set("celery-task-meta-1", "x")
    admin.hset(keys.WORKERS, "host/1/a", json.dumps({"version": "0.0.1"}))
    with admin.pubsub() as other:
        other.subscribe(channels.alive_channel("staging", "host/9/z"))
        found = await examine(server.url, code=0)
        assert "staging" in found["deployments"][0]["text"]
        assert "'celery-task-meta-1'" in found["keyspace"][0]["text"]
        assert "1 of 0.0.1" in found["workers"][0]["text"]
        other.subscribe(channels.alive_channel("staging", "host/1/a"))
        found = await examine(server.url, code=1)
        assert levels(found["deployments"]) == ["fail"]


async def test_a_replica_and_a_server_that_refuses_writes(server: RedisServer, admin: Any, tmp_path: Path):
    with RedisServer(tmp_path / "replica", port=0) as primary, Redis.from_url(primary.url) as client:
        client.config_set("min-replicas-to-write", 1)
        found = await examine(primary.url, code=1)
        assert "NOREPLICAS" in found["scripts"][0]["text"]
        assert "too few replicas" in found["scripts"][0]["meaning"]
        client.config_set("min-replicas-to-write", 0)
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        found = await examine(primary.url, code=1)
        assert levels(found["replicas"]) == ["fail"]
        assert "is a replica" in found["replicas"][0]["text"]


INFO = {"redis_version": "7.4.1", "role": "master", "connected_slaves": 1}


@pytest.mark.parametrize(
    ("check", "info", "config", "expected"),
    [
        (durability.check_version, {"redis_version": "6.0.16"}, {}, Level.FAIL),
        (durability.check_version, {"redis_version": "6.2.0"}, {}, Level.OK),
        (durability.check_version, {"redis_version": "7.2.4", "valkey_version": "7.2.5"}, {}, Level.FAIL),
        (durability.check_version, {"redis_version": "7.2.4", "valkey_version": "8.0.0"}, {}, Level.OK),
        (durability.check_version, {"redis_version": "7.2.4", "dragonfly_version": "1"}, {}, Level.WARN),
        (durability.check_version, {}, {}, Level.WARN),
        (durability.check_persistence, {"aof_enabled": 1}, {"appendfsync": "no"}, Level.WARN),
        (durability.check_persistence, {"aof_enabled": 1, "aof_last_write_status": "err"}, {}, Level.FAIL),
        (durability.check_persistence, {"aof_enabled": 1, "rdb_last_bgsave_status": "err"}, {}, Level.FAIL),
        (durability.check_memory, {"used_memory": 80, "maxmemory": 100}, {}, Level.WARN),
        (durability.check_memory, {"used_memory": 80, "total_system_memory": 1000}, {}, Level.OK),
        (durability.check_clients, {"connected_clients": 90, "maxclients": 100}, {}, Level.WARN),
        (durability.check_clients, {"connected_clients": 9}, {"maxclients": "100"}, Level.OK),
        (lambda it: durability.check_replicas(it, 2), INFO, {}, Level.FAIL),
        (lambda it: durability.check_replicas(it, 1), INFO, {"min-replicas-to-write": "0"}, Level.WARN),
        (lambda it: durability.check_replicas(it, 0), INFO, {"min-replicas-max-lag": "10"}, Level.WARN),
        (lambda it: durability.check_replicas(it, 0), INFO, {"repl-backlog-size": "1048576"}, Level.WARN),
        (lambda it: durability.check_replicas(it, 0), INFO, {"min-replicas-to-write": "1"}, Level.OK),
    ],
)
def test_what_a_server_says_of_itself(check, info, config, expected):
    findings = check(Server("redis://h", None, info, config))
    assert [finding.level for finding in findings] == [expected]
    assert all(finding.meaning for finding in findings if finding.level is not Level.OK)
