"""An end that is not published before the replicas have it: its readers are told later, and read the log."""

import asyncio
from typing import Any

from tests.support.following import Follower, Writer
from tests.support.turns import KEY
from tests.support.waiting import wait_until
from turnwire.shared.channels import NOT_PUBLISHED
from turnwire.shared.store.turns import TurnStore

NEVER_S = 3600.0  # no reader is told by the check of a silent turn


async def test_every_reader_reads_the_end(make_hub: Any, store: TurnStore, writer: Writer, monkeypatch):
    monkeypatch.setattr(store, "_end_prefix", NOT_PUBLISHED)
    await writer.claim()
    async with make_hub(silence_s=NEVER_S) as hub, asyncio.timeout(20), asyncio.TaskGroup() as group:
        followers = [Follower(hub, KEY) for _ in range(3)]
        readings = [group.create_task(follower.run()) for follower in followers]
        await wait_until(lambda: all(follower.ids for follower in followers), "each has the first event")
        await wait_until(writer._store.redis.pubsub_channels, "they are subscribed")
        await writer.end()
        ids = [await reading for reading in readings]
    assert ids[0][-1] != "1-0"
    assert ids == [ids[0]] * 3
