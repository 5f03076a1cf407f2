"""The appender is started again after a defect: what the failed round trip carried is written then."""

import asyncio
from unittest.mock import patch

import pytest

from tests.support.turns import delta, log_of, submit_and_claim
from turnwire.worker.attempt.appender import Appender


async def test_a_defect_in_a_round_trip_loses_no_event(store):
    appender = Appender(store)
    log = appender.open(await submit_and_claim(store), lambda _: None)
    log.put(delta("a"))
    with patch.object(store, "append_many", side_effect=AttributeError("a defect")), pytest.raises(AttributeError):
        await appender.run()
    task = asyncio.create_task(appender.run())
    async with asyncio.timeout(20):
        await log.flush()
    assert [data["delta"] for _, event_type, data in await log_of(store) if event_type == "message.part.updated"] == [
        "a"
    ]
    task.cancel()
    await asyncio.wait({task})
