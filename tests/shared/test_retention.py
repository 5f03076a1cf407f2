"""Each tenant's turns are kept for the time that the key file gives the tenant, or else for that of the settings."""

import msgspec

from tests.support.turns import claim, request
from turnwire.shared import keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.retention import Retention
from turnwire.shared.store.turns import TurnStore

OF_ACME = SessionKey("acme", "demo").turn(0)
OF_DEFAULT = SessionKey("default", "demo").turn(0)


async def test_a_turn_and_its_mark_are_kept_as_long_as_its_tenant_wants(redis, settings, tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text("[tenant.acme]\nretention_s = 7\n")
    own = msgspec.structs.replace(settings, api_keys_file=str(path))
    store, queue = TurnStore(redis, own), TurnQueue(redis, own)
    for key, longest_ms in ((OF_ACME, 7_000), (OF_DEFAULT, settings.retention_ms)):
        await store.submit(key, request())
        await queue.enqueue(key.run_id)
        [taken], _ = await queue.take("worker", 1)
        settled = await store.settle(await claim(store, key), TurnState.COMPLETED, 1, [], {})
        await queue.end("worker", taken, {1: settled.row})
        for name in (key.record, key.events, key.ledger, keys.billed(key.run_id)):
            left_ms = await redis.pttl(name)
            assert longest_ms - 6_000 < left_ms <= longest_ms, (name, left_ms)


def test_a_job_of_no_turn_counts_as_the_default(settings, tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text("[tenant.acme]\nretention_s = 7\n")
    retention = Retention(msgspec.structs.replace(settings, api_keys_file=str(path)))
    assert retention.of_job_ms("persist:chat:acme~demo:0") == 7_000
    assert retention.of_job_ms("erase:0123") == settings.retention_ms
    assert retention.of_job_ms("of another program") == settings.retention_ms
