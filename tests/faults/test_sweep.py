"""The sweep finds turns on which no worker works, and turns that could not end by themselves are ended."""

from tests.support.scene import Scene, scene
from tests.support.waiting import let_pass, wait_until
from turnwire.shared import keys
from turnwire.shared.keys import TurnKey
from turnwire.shared.replies import Cancelled, CancelVerdict

TIMEOUT_S = 4


async def test_turns_whose_jobs_were_lost_are_put_back(view: Scene):
    view.stack.worker[0].pause()
    no_job, no_entry, neither = turns = [view.turn() for _ in range(3)]
    await view.submit(*turns)
    for answer in (no_job, neither):
        assert await view.redis.delete(keys.job(answer.run_id))
    for answer in (no_entry, neither):
        assert await view.redis.zrem(keys.QUEUE, answer.run_id)
    await view.redis.delete(keys.HINTS)
    for answer in turns:
        await view.due_now(answer)
    view.stack.worker[0].resume()
    await view.ended(*turns)
    assert {await view.status(answer) for answer in turns} == {"completed"}
    await view.nothing_left()


async def test_a_running_turn_with_neither_lease_nor_job_is_put_back(tmp_path):
    """Its worker is gone, and nothing but the list of open turns still leads to it."""
    async with scene(tmp_path, workers=2) as view:
        answer = view.turn(gate={"3": str(view.gate())})
        reader = view.ask(answer)
        await wait_until(lambda: answer.deltas() == 3, "the answer under way")
        answer.metadata.clear()
        for service in view.stack.worker:
            service.pause()
        (await view.runs_on(answer)).kill()
        gone = [keys.job(answer.run_id), keys.in_progress(answer.run_id), TurnKey.parse(answer.run_id).lease]
        await view.redis.delete(*gone, keys.WORKERS)
        await view.redis.zrem(keys.QUEUE, answer.run_id)
        await view.redis.hset(TurnKey.parse(answer.run_id).record, "metadata", "{}")  # type: ignore[misc]
        await view.due_now(answer)
        for service in view.stack.worker:
            if service.running:
                service.resume()
        await reader
        await view.check(answer)


async def test_a_job_that_is_due_again_at_once_is_run_again_at_once(tmp_path):
    """Regression: a worker that took a job again before it had finished with it dropped the job, which then stood still
    for a lease. This happens when a turn that waits is woken by the end of the one before it.
    """
    async with scene(tmp_path, env={"TURNWIRE_LEASE_MS": "60000"}) as view:
        firsts = [view.turn() for _ in range(50)]
        turns = [*firsts, *(view.turn(answer.session, 1) for answer in firsts)]
        await view.submit(*turns)
        await view.ended(*turns)
        await view.nothing_left()


async def test_a_turn_that_nobody_woke_after_the_one_before_it_runs(view: Scene):
    view.stack.worker[0].pause()
    first, second = view.turn(), None
    await view.submit(first)
    second = view.turn(first.session, 1)
    await view.submit(second)
    assert await view.redis.delete(keys.job(second.run_id))
    assert await view.redis.zrem(keys.QUEUE, second.run_id)
    cancelled = await view.store.cancel(TurnKey.parse(first.run_id))  # the canceller dies here, so it wakes no turn
    assert cancelled == Cancelled(CancelVerdict.CANCELLED, [1])
    await view.due_now(second)
    view.stack.worker[0].resume()
    await view.ended(second)
    assert await view.status(second) == "completed"
    await view.nothing_left()


async def test_a_turn_that_kills_each_of_its_workers_is_given_up(tmp_path):
    async with scene(tmp_path, workers=3, env={"TURNWIRE_MAX_ATTEMPTS": "3"}) as view:
        answer = view.turn(die=True)
        reader = view.ask(answer)
        await wait_until(lambda: not any(service.running for service in view.stack.worker), "three dead workers")
        survivor = view.worker("survivor")
        survivor.start()
        await reader
        assert answer.lines[-1]["type"] == "session.run.failed"
        assert answer.lines[-1]["data"]["code"] == "attempts_exhausted"
        assert view.count(answer)["produce"] == 3
        record = await view.client.record(answer)
        assert (record["status"], record["error"]["code"]) == ("failed", "attempts_exhausted")
        await view.nothing_left()
        assert survivor.running


async def test_a_producer_that_cancels_itself_is_not_run_for_ever(tmp_path):
    """A CancelledError that a producer raises looks like a stop from outside. It must not lead to a busy loop."""
    async with scene(tmp_path, env={"TURNWIRE_MAX_ATTEMPTS": "3"}) as view:
        answer = view.turn(leak=True)
        reader = view.ask(answer)
        await reader
        assert answer.lines[-1]["type"] == "session.run.failed"
        assert view.count(answer)["produce"] <= 3


async def test_a_turn_that_takes_too_long_fails_as_timeout(tmp_path):
    async with scene(tmp_path, env={"TURNWIRE_TURN_TIMEOUT_S": "1.5"}) as view:
        answer = view.turn(gate={"3": str(view.gate())})
        await view.ask(answer)
        assert answer.lines[-1]["data"]["code"] == "timeout"
        assert view.count(answer) == {"produce": 1, "cut": 1}
        await view.nothing_left()


async def test_the_time_of_a_turn_goes_on_while_its_workers_die(tmp_path):
    async with scene(tmp_path, workers=2, env={"TURNWIRE_TURN_TIMEOUT_S": str(TIMEOUT_S)}) as view:
        answer = view.turn(gate={"3": str(view.gate())})
        reader = view.ask(answer)
        await wait_until(lambda: answer.deltas() == 3, "the answer under way")
        await let_pass(1)
        (await view.runs_on(answer)).kill()
        await view.called(answer, "produce", 2)
        await reader
        assert answer.lines[-1]["data"]["code"] == "timeout"
        first, second = await view.store.ledger(TurnKey.parse(answer.run_id))
        assert second.wall_ms < TIMEOUT_S * 1000 <= first.wall_ms + second.wall_ms + 100
        await view.nothing_left()
