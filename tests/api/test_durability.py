"""What an API process says at its start about the Redis that it uses."""

import pytest

from stack.redis_server import RedisServer
from turnwire.api.durability import crash_problems, failover_problems, say_durability
from turnwire.shared.store.connect import connect

SAFE = {"aof_enabled": 1, "maxmemory_policy": "noeviction", "connected_slaves": 1}
OPTIONS = {
    "appendfsync": "everysec",
    "min-replicas-to-write": "1",
    "min-replicas-max-lag": "2",
    "repl-backlog-size": str(64 * 1024 * 1024),
}


def test_a_server_that_loses_nothing_has_no_problems():
    assert crash_problems(SAFE, OPTIONS) == failover_problems(SAFE, OPTIONS) == []


def test_what_is_not_permitted_to_be_known_is_no_problem():
    assert crash_problems(SAFE, {}) == failover_problems(SAFE, {}) == []


@pytest.mark.parametrize(
    ("info", "options", "said"),
    [
        ({"aof_enabled": 0}, {}, "no append-only file"),
        ({}, {"appendfsync": "no"}, "30 s of writes"),
        ({"maxmemory_policy": "allkeys-lru"}, {}, "maxmemory-policy is allkeys-lru"),
    ],
)
def test_what_a_crash_loses(info, options, said):
    [problem] = crash_problems(SAFE | info, OPTIONS | options)
    assert said in problem


@pytest.mark.parametrize(
    ("info", "options", "said"),
    [
        ({"connected_slaves": 0}, {}, "nowhere to go"),
        ({}, {"min-replicas-to-write": "0"}, "goes on taking writes"),
        ({}, {"min-replicas-max-lag": "10"}, "the writes of 10 s"),
        ({}, {"repl-backlog-size": "1048576"}, "repl-backlog-size is 1 MiB"),
    ],
)
def test_what_a_failover_loses(info, options, said):
    [problem] = failover_problems(SAFE | info, OPTIONS | options)
    assert said in problem


async def test_a_real_server_is_asked(tmp_path, caplog):
    with RedisServer(tmp_path, aof=True) as server:
        client = connect(server.url, connections=1)
        try:
            await client.config_set("appendfsync", "everysec")
            with caplog.at_level("INFO"):
                await say_durability(client, fails_over=False)
                assert caplog.messages == ["the store has an append-only file and evicts nothing"]
                caplog.clear()
                await say_durability(client, fails_over=True)
        finally:
            await client.aclose(close_connection_pool=True)
    assert caplog.messages[0] == "no replica is connected to the store: a failover has nowhere to go"
    assert len(caplog.messages) == 3
