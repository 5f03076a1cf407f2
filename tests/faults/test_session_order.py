"""The turns of a session run one after the other, also while workers die and turns wait for days.

Turn 0 is left in one of three states; then turn 1 is asked, in each way of `on_busy`.
"""

import asyncio
import re

import pytest

from chaos import verify
from chaos.client import Answer
from tests.support.scene import Scene, open_gate
from tests.support.waiting import LIMIT_S, let_pass, wait_until
from turnwire.shared import keys

WINDOW_S = 1.5  # for how long commands are watched; the sweep looks at waiting turns only every 10 s or more
WAITING = 20


@pytest.fixture(scope="module")
def product() -> dict[str, str]:
    return {"TURNWIRE_HOOKS": "tests.support.stepping:hooks"}


class Busy:
    """A session whose turn 0 is in progress, in the given `state`. `release` lets this turn end."""

    def __init__(self, view: Scene, state: str) -> None:
        self.view, self.state = view, state
        self.gate = view.gate_of_each_attempt()
        gates = {str(attempt): str(self.gate).replace("{attempt}", str(attempt)) for attempt in (1, 2)}
        orders = {"signal": "go"} if state == "suspended" else {"start_gates": gates}
        self.first = view.turn(**orders)

    async def begin(self) -> None:
        """Bring turn 0 into the state."""
        view, first = self.view, self.first
        if self.state == "suspended":
            await view.submit(first)
            await until_status(view, first, "suspended")
            return
        ordinary = view.stack.worker[0]
        ordinary.pause()
        victim = view.worker(f"victim-{first.session}").start()
        await view.submit(first)
        await view.called(first, "produce")
        victim.kill()
        if self.state == "taken over":
            ordinary.resume()
            await view.called(first, "produce", 2)

    async def release(self) -> None:
        """Let turn 0 continue: send its signal, or let an attempt of the ordinary worker go on."""
        if self.state == "suspended":
            await signal(self.view, self.first)
            return
        open_gate(self.gate, 2)
        self.view.stack.worker[0].resume()

    def later(self, index: int, on_busy: str = "enqueue") -> Answer:
        """Return a later turn of the session."""
        return Answer(self.first.session, index, {}, on_busy=on_busy)


@pytest.fixture(params=["crashed", "taken over", "suspended"])
async def busy(request: pytest.FixtureRequest, view: Scene) -> Busy:
    busy = Busy(view, request.param)
    await busy.begin()
    return busy


async def signal(view: Scene, answer: Answer) -> None:
    url = f"{view.stack.base_urls[0]}{answer.path}/signals/go"
    assert (await view.client.http.post(url, json={"payload": "yes"})).status_code == 202


async def until_status(view: Scene, answer: Answer, status: str) -> None:
    async def reached() -> bool:
        return await view.status(answer) == status

    await wait_until(reached, f"{answer.run_id} {status}")


async def in_order(view: Scene, *turns: Answer) -> None:
    """Check that the turns have completed, and that each began after the end of the one before it."""
    await view.ended(*turns)
    records = [await view.client.record(answer) for answer in turns]
    assert [record["status"] for record in records] == ["completed"] * len(turns)
    assert verify.check_order(records) == []
    for answer in turns:
        assert verify.check_calls(view.calls(answer), await verify.steps_of(view.redis, answer.run_id)) == []


async def test_later_turns_wait_and_then_run_in_their_order(view: Scene, busy: Busy):
    second, third = busy.later(1), busy.later(2)
    readers = [view.ask(third)]
    await until_status(view, third, "queued")
    readers.append(view.ask(second))  # it is asked later, but has the smaller index
    await until_status(view, second, "queued")
    await let_pass(0.3)
    assert view.calls(second) == view.calls(third) == []
    await busy.release()
    for reader in readers:
        await reader
    await in_order(view, busy.first, second, third)
    assert second.connections == third.connections == 1
    assert "session.run.resumed" not in second.types + third.types
    await view.nothing_left()


async def test_reject_refuses_until_the_earlier_turn_has_ended(view: Scene, busy: Busy):
    second = busy.later(1, on_busy="reject")
    refused = await view.client.submit(second)
    assert (refused.status_code, refused.json()["code"]) == (409, "session_busy")
    assert await view.status(second) is None
    await busy.release()
    await view.ended(busy.first)
    await view.submit(second)
    await in_order(view, busy.first, second)
    await view.nothing_left()


async def test_interrupt_ends_the_earlier_turn_first(view: Scene, busy: Busy):
    second = busy.later(1, on_busy="interrupt")
    reader = view.ask(second)
    view.stack.worker[0].resume()
    await reader
    records = [await view.client.record(answer) for answer in (busy.first, second)]
    assert [record["status"] for record in records] == ["cancelled", "completed"]
    assert verify.check_order(records) == []
    assert verify.check_lines(await view.client.read(busy.first), status="cancelled") == []
    assert view.count(busy.first)["produce"] == (2 if busy.state == "taken over" else 1)
    await view.nothing_left()


async def test_concurrent_passes_the_earlier_turn(view: Scene, busy: Busy):
    second = busy.later(1, on_busy="concurrent")
    reader = view.ask(second)
    view.stack.worker[0].resume()
    await reader
    assert await view.status(second) == "completed"
    assert await view.status(busy.first) in {"running", "suspended"}
    third = busy.later(2)  # asked in the ordinary way, it waits for turn 0, although the turn just before it has ended
    await view.submit(third)
    await let_pass(0.3)
    assert await view.status(third) == "queued"
    await busy.release()
    await in_order(view, busy.first, third)
    await view.nothing_left()


async def test_the_turns_that_wait_run_in_order_when_the_worker_dies_before_it_wakes_them(view: Scene):
    """Turn 0 has ended, and its worker dies before it wakes the next turn."""
    gate = view.gate()
    turns = [view.turn(start_gates={"1": str(gate)})]
    turns += [Answer(turns[0].session, index, {}) for index in (1, 2)]
    view.stack.worker[0].pause()
    victim = view.worker("between", "tests.support.crashing_worker", CRASH_AT="settle:1:after").start()
    await view.submit(turns[0])
    await view.called(turns[0], "produce")
    await view.submit(*turns[1:])
    open_gate(gate, 1)
    assert victim.wait(LIMIT_S) == -9
    assert [await view.status(answer) for answer in turns] == ["completed", "queued", "queued"]
    view.stack.worker[0].resume()
    await in_order(view, *turns)
    await view.nothing_left()


async def commands_about(view: Scene, turns: list[Answer]) -> list[str]:
    """Watch the commands that Redis gets for a while. Return those that name one of these turns."""
    names = [f"{{{answer.session}}}:{answer.index}" for answer in turns] + [answer.run_id for answer in turns]
    mentions = re.compile("|".join(f"{re.escape(name)}(?![0-9])" for name in names))
    found, total = [], 0
    async with view.redis.monitor() as monitor:
        await monitor.connect()
        ending = asyncio.create_task(end_window(view))
        while (command := (await monitor.next_command())["command"]) != "ECHO end":
            total += 1
            if mentions.search(command):
                found.append(command[:200])
        await ending
    assert total > 10, "a monitor that sees no command proves nothing"
    return found


async def end_window(view: Scene) -> None:
    await let_pass(WINDOW_S)
    await view.redis.echo("end")


@pytest.mark.parametrize("waits_for", ["the turn before it", "its signal"])
async def test_a_turn_that_waits_costs_no_command(view: Scene, waits_for: str):
    gate = view.gate()
    first = view.turn(start_gates={"1": str(gate)})
    await view.submit(first)
    await view.called(first, "produce")
    if waits_for == "its signal":
        waiting = [view.turn(signal="go") for _ in range(WAITING)]
    else:
        waiting = [Answer(first.session, index, {}) for index in range(1, WAITING + 1)]
    await view.submit(*waiting)
    await wait_until(lambda: jobs_gone(view, waiting), "every turn that cannot run has given up its job")
    await wait_until(lambda: view.redis.exists(keys.FILLED_IN), "the reading of all turns after the start of Redis")
    assert await commands_about(view, [first])  # the monitor works: it sees that the running turn is renewed
    assert await commands_about(view, waiting) == []
    open_gate(gate, 1)
    if waits_for == "its signal":
        for answer in waiting:
            await signal(view, answer)
        await view.ended(first, *waiting)
    else:
        await in_order(view, first, *waiting)
    await view.nothing_left()


async def jobs_gone(view: Scene, answers: list[Answer]) -> bool:
    """Return whether no turn has a job, queued or claimed, any more, although each was enqueued before."""
    names = [keys.job(answer.run_id) for answer in answers] + [keys.in_progress(answer.run_id) for answer in answers]
    return not await view.redis.exists(*names) and all(
        [await view.status(answer) in {"queued", "suspended"} for answer in answers]
    )
