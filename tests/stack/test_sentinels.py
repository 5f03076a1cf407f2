"""Three Sentinels replace a primary when they are told to, and when it is killed. Earlier writes are kept."""

import pytest

from stack.sentinels import SentinelGroup, client_of
from tests.support.waiting import wait_until


@pytest.mark.long
async def test_the_sentinels_replace_a_primary(tmp_path):
    with SentinelGroup(tmp_path) as group:
        with client_of(group.primary) as redis:
            redis.set("name", "value")
            await wait_until(lambda: redis.wait(2, 500) == 2, "the write at both replicas")
        group.fail_over()
        group.wait_whole()
        killed = group.primary
        killed.kill()
        group.wait_switched(killed)
        assert group.primary is not killed
        with client_of(group.primary) as redis:
            assert redis.get("name") == b"value"
