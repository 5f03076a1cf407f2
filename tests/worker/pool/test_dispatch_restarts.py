"""The loop that takes jobs is started again after a failure, and loses none of them."""

import asyncio

import msgspec

from tests.support.product import Scripted, text
from tests.support.scraped import grows
from tests.support.turns import KEY, SESSION, request
from tests.support.waiting import wait_until
from turnwire.worker.attempt.run import TurnRunner
from turnwire.worker.pool.dispatch import Dispatch
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products


async def test_jobs_that_were_taken_and_not_begun_run_at_once_and_not_when_their_claims_lapse(
    store, queue, settings, monkeypatch, caplog
):
    begin = Dispatch._start_or_put_off
    failed: list[str] = []

    async def fails_once(self, taken):
        if taken and not failed:
            failed.extend(job.job_id for job in taken)
            raise RuntimeError("a bug")
        await begin(self, taken)

    monkeypatch.setattr(Dispatch, "_start_or_put_off", fails_once)
    worker = TurnWorker(msgspec.structs.replace(settings, lease_ms=600_000), Products({None: Scripted(text("a"))}))
    main = asyncio.create_task(worker.main())
    turns = [SESSION.turn(index) for index in range(3)]
    for turn in turns:
        await store.submit(turn, request(on_busy="concurrent"))
        await queue.enqueue(turn.run_id)

    async def all_completed():
        return all([(await store.existing(turn)).status == "completed" for turn in turns])

    await wait_until(all_completed, "every turn, long before the lease of ten minutes ends", 15)
    assert failed
    assert "dispatch failed; it is started again" in caplog.text
    worker.drain()
    worker.drain()
    await main
    await worker.close()


async def test_a_job_that_fails_by_a_bug_of_ours_runs_again_and_is_counted(store, queue, settings, monkeypatch, caplog):
    run = TurnRunner.run
    failed: list[str] = []

    async def fails_once(self, run_id, *args):
        if not failed:
            failed.append(run_id)
            raise RuntimeError("a bug")
        return await run(self, run_id, *args)

    monkeypatch.setattr(TurnRunner, "run", fails_once)
    worker = TurnWorker(msgspec.structs.replace(settings, lease_ms=300), Products({None: Scripted(text("a"))}))
    main = asyncio.create_task(worker.main())
    with grows("worker", "turnwire_defects_total"):
        await store.submit(KEY, request())
        await queue.enqueue(KEY.run_id)

        async def completed():
            return (await store.existing(KEY)).status == "completed"

        await wait_until(completed, "the turn, once the claim on its job has lapsed")
    assert failed == [KEY.run_id]
    assert "because of a bug in Turnwire" in caplog.text
    worker.drain()
    worker.drain()
    await main
    await worker.close()
