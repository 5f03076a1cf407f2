"""A cancel ends a turn within a second, in whatever state the turn is, also when its worker is dead."""

import asyncio
import time
from functools import partial

import pytest

from chaos.client import Answer
from tests.support.scene import Scene, scene
from tests.support.waiting import LOAD_S, wait_until
from turnwire.shared import keys
from turnwire.shared.keys import TurnKey
from turnwire.shared.store.waking import cancel_and_wake


async def cancel(view: Scene, answer: Answer) -> str:
    """Cancel the turn as the API's endpoint does it."""
    return await cancel_and_wake(view.store, view.queue, TurnKey.parse(answer.run_id), "enough")


async def check_cancelled(view: Scene, answer: Answer) -> None:
    record = await view.client.record(answer)
    assert (record["status"], record["error"]["code"]) == ("cancelled", "cancelled")
    lines = await view.client.read(answer)
    assert [line["type"] for line in lines].count("session.run.failed") == 1
    assert (lines[-1]["type"], lines[-1]["data"]["code"]) == ("session.run.failed", "cancelled")
    assert [int(line["id"].split("-")[1]) for line in lines] == list(range(len(lines)))
    assert not view.calls(answer, "persist_assistant_message")


async def test_a_running_turn_is_cancelled_within_a_second_and_its_model_call_is_closed(view: Scene):
    answer = view.turn(gate={"3": str(view.gate())})
    reader = view.ask(answer)
    await wait_until(lambda: answer.deltas() == 3, "the answer under way")
    asked_at_s = time.monotonic()
    assert await cancel(view, answer) == "requested"
    await reader
    assert answer.at_s[-1] - asked_at_s < 1.0 + LOAD_S
    assert view.count(answer) == {"produce": 1, "cut": 1}
    await check_cancelled(view, answer)
    await view.nothing_left()


async def test_a_queued_turn_is_cancelled_at_once_and_never_runs(view: Scene):
    view.stack.worker[0].pause()
    answer = view.turn()
    reader = view.ask(answer)
    await wait_until(lambda: view.redis.zscore("arq:queue", answer.run_id), "its job")
    asked_at_s = time.monotonic()
    assert await cancel(view, answer) == "cancelled"
    await reader
    assert answer.at_s[-1] - asked_at_s < 1.0 + LOAD_S
    view.stack.worker[0].resume()
    await check_cancelled(view, answer)
    await view.nothing_left()
    assert not view.calls(answer)


async def test_a_turn_that_waits_for_an_earlier_one_is_cancelled_alone(view: Scene):
    gate = view.gate()
    first, second, third = turns = [view.turn("s-order", index, gate={"0": str(gate)}) for index in range(3)]
    readers = [view.ask(first)]
    await view.called(first, "produce")
    readers += [view.ask(second), view.ask(third)]
    for answer in turns[1:]:
        await wait_until(partial(view.status, answer), "it is accepted")
    assert await cancel(view, second) == "cancelled"
    gate.touch()
    await asyncio.gather(*readers)
    await check_cancelled(view, second)
    assert not view.calls(second)
    await view.due_now(second)  # it has no job any more, so the sweep takes it off its list
    await view.check(first, third)


async def test_cancelling_twice_changes_nothing_more(view: Scene):
    answer = view.turn(gate={"3": str(view.gate())})
    reader = view.ask(answer)
    await wait_until(lambda: answer.deltas() == 3, "the answer under way")
    verdicts = [await cancel(view, answer), await cancel(view, answer)]
    assert verdicts[0] == "requested"
    await reader
    before = await view.dump(answer)
    assert await cancel(view, answer) == "ended"
    assert await view.dump(answer) == before
    await check_cancelled(view, answer)


async def test_a_turn_cancelled_while_it_is_being_claimed_ends_as_cancelled_or_completed_but_only_once(view: Scene):
    turns = [view.turn(events=30, pace_ms=20) for _ in range(20)]
    for answer in turns:
        await view.submit(answer)
        assert await cancel(view, answer) in {"cancelled", "requested"}
    await view.ended(*turns)
    for answer in turns:
        await check_cancelled(view, answer)
    await view.nothing_left()


async def test_the_turn_of_a_dead_worker_ends_as_cancelled_when_it_is_taken_over(tmp_path):
    async with scene(tmp_path, workers=2) as view:
        answer = view.turn(gate={"3": str(view.gate())})
        reader = view.ask(answer)
        await wait_until(lambda: answer.deltas() == 3, "the answer under way")
        (await view.runs_on(answer)).kill()
        asked_at_s = time.monotonic()
        assert await cancel(view, answer) == "requested"  # its lease is still there
        await reader
        assert answer.at_s[-1] - asked_at_s < 1.5 + LOAD_S
        await check_cancelled(view, answer)
        await view.nothing_left()
        assert view.count(answer)["produce"] == 1


async def test_a_turn_is_cancelled_when_no_worker_is_left(tmp_path):
    """The dead worker's lease has not ended yet when the cancel comes, and nobody will take the turn over."""
    async with scene(tmp_path, workers=1, env={"TURNWIRE_LEASE_MS": "1500"}) as view:
        answer = view.turn(gate={"3": str(view.gate())})
        reader = view.ask(answer)
        await wait_until(lambda: answer.deltas() == 3, "the answer under way")
        (await view.runs_on(answer)).kill()
        asked_at_s = time.monotonic()
        url = view.client.base_url() + answer.path
        assert (await view.client.http.post(f"{url}/cancel", json={"reason": "enough"})).status_code == 202
        await reader
        assert answer.at_s[-1] - asked_at_s < 1.5 + 1 + LOAD_S
        await check_cancelled(view, answer)
        assert view.count(answer)["produce"] == 1


@pytest.mark.parametrize("apis", [1, 2])
async def test_a_cancel_outlives_its_api_when_no_worker_is_left(tmp_path, apis):
    """An API process that starts carries the cancel on, and so does one that runs already."""
    async with scene(tmp_path, workers=1, apis=apis, env={"TURNWIRE_LEASE_MS": "1500"}) as view:
        answer = view.turn(gate={"3": str(view.gate())})
        await view.submit(answer)
        await view.called(answer, "produce")
        (await view.runs_on(answer)).kill()
        cancelling = view.stack.api[0]
        url = view.stack.base_urls[0] + answer.path
        assert (await view.client.http.post(f"{url}/cancel", json={"reason": "enough"})).status_code == 202
        assert await view.status(answer) == "running"
        cancelling.kill()
        if apis == 1:
            cancelling.start()
        await view.ended(answer, limit_s=20)
        assert await view.status(answer) == "cancelled"
        record = await view.redis.hget(TurnKey.parse(answer.run_id).record, "error_message")  # type: ignore[misc]
        assert record == b"the turn was cancelled: enough"

        async def list_is_empty() -> bool:
            return not await view.redis.exists(keys.CANCELLING)

        await wait_until(list_is_empty, "the end of the watch over the cancel")
