"""Three sentinels watch a primary and its replica, and put another one in its place."""

from contextlib import suppress

from redis.exceptions import RedisError

from stack.sentinels import Sentinels, command, port_of
from tests.support.waiting import wait_until


def role_of(server) -> str | None:
    """None while the sentinels cut its connections."""
    with suppress(RedisError):
        return command(port_of(server), "ROLE")[0]
    return None


def value_at(server) -> str | None:
    return command(port_of(server), "GET", "name")


async def test_the_sentinels_replace_a_primary_that_was_killed_or_shall_leave(tmp_path):
    with Sentinels(tmp_path) as group:
        first = group.primary()
        [second] = [server for server in group.servers if server is not first]
        command(port_of(first), "SET", "name", "value")
        await wait_until(lambda: value_at(second) == "value", "the write at the replica")
        group.failover()
        await wait_until(lambda: group.primary() is second, "the planned failover", 20)
        await wait_until(lambda: role_of(first) == "slave", "the old primary follows", 20)
        second.kill()
        await wait_until(lambda: group.primary() is first, "the failover", 20)
        await wait_until(lambda: role_of(first) == "master", "the promotion", 20)
        assert value_at(first) == "value"
