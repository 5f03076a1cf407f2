"""A worker or an API dies, or loses a reply, at a write of a step, a stream, a signal, a rewind or the outbox.

No completed step runs twice, no stored answer is asked for again, there is one terminal event, seq is dense, and every
reader sees the same log.
"""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from chaos import verify
from chaos.client import Answer, Line
from stack.process import Service, answers
from tests.support.scene import Scene, open_gate
from tests.support.struck import MODES, all_accepted, crashing_api, faulty_workers, struck, until_all_struck
from tests.support.waiting import wait_until
from turnwire.shared.keys import TurnKey

STEPS = {"first": "first", "answer": "answer", "last": "last"}  # intent -> what the ledger calls it
DELTAS = 5  # of a model call, each a token
TOKENS_IN = 7


@pytest.fixture(scope="module")
def product() -> dict[str, str]:
    return {"TURNWIRE_HOOKS": "tests.support.stepping:hooks", "TURNWIRE_PERSIST_TRIES": "1"}


def expected_text(steps: dict[str, Any], fresh: list[Line], payload: str) -> str:
    """What the answer has to read: the words of one attempt around the answer that the checkpoint holds."""
    answer = verify.text_of(steps["answer"]["result"])
    first = verify.text_of(fresh).partition("begin ")[0]
    return f"{first}begin {answer}{payload}end"


async def check(view: Scene, answer: Answer, payload: str = "", *, outbox: bool = False) -> None:
    """Everything that must hold of a completed turn of this product; the outbox persists without a step."""
    steps = await verify.steps_of(view.redis, answer.run_id)
    fresh = await view.client.read(answer)
    text = expected_text(steps, fresh, payload)
    found = await verify.check_turn(view.client, view.redis, answer, view.calls(answer), text=text)
    found += verify.check_calls(view.calls(answer), steps, hooks=STEPS)
    late = await view.client.read(answer, after=fresh[2]["id"])
    assert [line["id"] for line in late] == [line["id"] for line in fresh[3:]]
    asked_in = {call["attempt"] for call in view.calls(answer, "answer")}
    stored = {int(attempt) for attempt in re.findall(r"(\d+)\.\d", verify.text_of(steps["answer"]["result"]))}
    assert len(stored) == 1
    assert stored <= asked_in  # the stored answer is that of one call
    assert verify.text_of(fresh).count(".") == DELTAS
    assert answer.connections == 1
    await check_bill(view, answer)
    found = [flaw for flaw in found if not (outbox and "persist_assistant_message" in flaw)]
    assert not found, "\n".join(found)


async def check_bill(view: Scene, answer: Answer) -> None:
    """The rows of the turn together say every call that was made, but for those that died with their worker."""
    rows = await view.store.ledger(TurnKey.parse(answer.run_id))
    known = [row for row in rows if row.model_calls is not None]
    calls, made = sum(row.model_calls for row in known), len(view.calls(answer, "answer"))
    assert calls >= 1  # that whose answer stands, whatever happened to its worker
    assert calls <= made <= calls + len(rows) - len(known)
    assert [(row.tokens_in, row.tokens_out) for row in known] == [
        (TOKENS_IN * row.model_calls, DELTAS * row.model_calls) for row in known
    ]


async def open_when_each_has_one(view: Scene, turns: list[Answer], gate: Path, attempt: int = 1) -> None:
    """Let the attempts go on once each of the faulty workers has a turn."""
    for answer in turns:
        await view.called(answer, "produce", attempt)
    open_gate(gate, attempt)


@pytest.mark.parametrize("write", ["checkpoint.first:1", "checkpoint.answer:1", "checkpoint.last:1"])
async def test_a_fault_at_a_steps_checkpoint_repeats_no_step_that_stands(view: Scene, write: str):
    gate = view.gate()
    turns = [view.turn(start_gates={"1": str(gate)}) for _ in MODES]
    view.stack.worker[0].pause()
    readers = [view.ask(answer) for answer in turns]
    await wait_until(lambda: all_accepted(view, turns), "the turns stand in the queue")
    async with faulty_workers(view, write, TURNWIRE_MAX_JOBS="1") as services:
        await open_when_each_has_one(view, turns, gate)
        await until_all_struck(services)
        view.stack.worker[0].resume()
        for reader in readers:
            await reader
    intent = write.removeprefix("checkpoint.").removesuffix(":1")
    for answer in turns:
        await check(view, answer)
    assert sorted(view.count(answer)[STEPS[intent]] for answer in turns) == [1, 1, 2]  # again: killed before it stood
    await view.nothing_left()


@pytest.mark.parametrize("write", ["suspend:1", "checkpoint.signal:go:1", "finish.parked:1"])
async def test_a_fault_while_a_turn_suspends_or_takes_its_signal_loses_nothing(view: Scene, write: str):
    """The faulty workers suspend the turns and, where they live that long, go on with them after the signal."""
    gate = view.gate()
    turns = [view.turn(signal="go", start_gates={"1": str(gate)}) for _ in MODES]
    view.stack.worker[0].pause()
    readers = [view.ask(answer) for answer in turns]
    await wait_until(lambda: all_accepted(view, turns), "the turns stand in the queue")
    if "checkpoint" in write:
        for answer in turns:
            assert (await signal(view, answer)).status_code == 202  # it is there before the turn waits for it
    async with faulty_workers(view, write, TURNWIRE_MAX_JOBS="1") as services:
        await open_when_each_has_one(view, turns, gate)
        await until_all_struck(services)
        view.stack.worker[0].resume()
        for answer, reader in zip(turns, readers, strict=True):
            await wait_until(lambda a=answer: waits_or_ended(view, a), "the turn to wait")
            await signal(view, answer)
            await reader
    for answer in turns:
        await check(view, answer, payload="yes ")
        assert view.count(answer)["answer"] == view.count(answer)["first"] == 1
    await view.nothing_left()


async def waits_or_ended(view: Scene, answer: Answer) -> bool:
    return await view.status(answer) in {"suspended", "completed"}


async def signal(view: Scene, answer: Answer, url: str | None = None):
    path = f"{url or view.stack.base_urls[0]}{answer.path}/signals/go"
    return await view.client.http.post(path, json={"payload": "yes"})


async def suspended(view: Scene) -> tuple[Answer, object]:
    answer = view.turn(signal="go")
    reader = view.ask(answer)

    async def waits() -> bool:
        return await view.status(answer) == "suspended"

    await wait_until(waits, "the turn to wait")
    return answer, reader


async def faulty_api(view: Scene, crash_at: str) -> tuple[Service, str]:
    service, url = crashing_api(view, crash_at)
    service.start()
    await wait_until(lambda: answers(f"{url}/readyz"), "the faulty API")
    return service, url


@pytest.mark.parametrize("mode", ["before", "after"])
@pytest.mark.parametrize("write", ["signal", "enqueue"])
async def test_a_signal_whose_api_died_is_sent_again_and_counts_once(view: Scene, write: str, mode: str):
    service, url = await faulty_api(view, f"{write}:1:{mode}")
    answer, reader = await suspended(view)
    with pytest.raises(httpx.TransportError):
        await signal(view, answer, url)
    assert service.wait(5) == -9
    again = await signal(view, answer)
    assert again.status_code in ({202} if (write, mode) == ("signal", "before") else {200, 409})
    await reader
    await check(view, answer, payload="yes ")
    assert answer.types.count("session.run.resumed") == 1
    await view.nothing_left()


async def test_a_signal_whose_api_died_before_it_woke_the_turn_needs_no_client_to_send_it_again(view: Scene):
    service, url = await faulty_api(view, "signal:1:after")
    answer, reader = await suspended(view)
    with pytest.raises(httpx.TransportError):
        await signal(view, answer, url)
    assert service.wait(5) == -9
    assert await view.status(answer) == "queued"
    await view.due_now(answer)  # what the sweep would do when its time comes
    await reader
    await check(view, answer, payload="yes ")
    await view.nothing_left()


@pytest.mark.parametrize("write", ["signal", "enqueue"])
async def test_a_reply_that_the_api_lost_wakes_the_turn_once(view: Scene, write: str):
    service, url = await faulty_api(view, f"{write}:1:lost")
    answer, reader = await suspended(view)
    assert (await signal(view, answer, url)).status_code in {200, 202}
    assert struck(service)
    await reader
    await check(view, answer, payload="yes ")
    assert answer.types.count("session.run.resumed") == 1
    await view.nothing_left()


async def test_a_worker_that_dies_when_it_has_ended_a_wait_leaves_it_to_the_sweep(view: Scene):
    """The turn's time is up, it is written as queued, but who wrote it dies before it enqueues the turn."""
    answer = view.turn(signal="go", timeout=0.1)
    view.stack.worker[0].pause()
    reader = view.ask(answer)
    service = view.worker("expire-after", "tests.support.crashing_worker", CRASH_AT="expire:1:after").start()
    await until_all_struck([service])
    assert await view.status(answer) == "queued"
    await view.due_now(answer)
    view.stack.worker[0].resume()
    await reader
    assert (await signal(view, answer)).status_code == 200  # too late: that its time ran out was first
    assert verify.check_lines(answer.lines, status="failed") == []
    assert [line["data"]["code"] for line in answer.lines if line["type"] == "session.run.failed"] == ["signal_timeout"]
    assert view.count(answer)["answer"] == view.count(answer)["first"] == 1
    assert "last" not in view.count(answer)
    await view.nothing_left()


async def test_a_fault_at_a_rewind_shows_nobody_two_versions_and_asks_no_model_again(view: Scene):
    """Attempt 1 stands still with its answer stored; what takes over begins with other words."""
    never, gate = view.gate(), view.gate()
    turns = [view.turn(differs=True, first_gate=str(never), start_gates={"2": str(gate)}) for _ in MODES]
    readers = [view.ask(answer) for answer in turns]
    for answer in turns:
        await wait_until(lambda a=answer: stored_answer(view, a), "its answer is stored")
    async with faulty_workers(view, "rewind:1", TURNWIRE_MAX_JOBS="1") as services:
        await open_when_each_has_one(view, turns, gate, attempt=2)
        await until_all_struck(services)
        view.stack.worker[0].resume()
        for reader in readers:
            await reader
    reasons = []
    for answer in turns:
        await check(view, answer)
        assert view.count(answer)["answer"] == view.count(answer)["first"] == view.count(answer)["last"] == 1
        reasons.append([line["data"]["reason"] for line in answer.lines if line["type"] == "session.run.resumed"])
        assert set(reasons[-1]) == {"lease_expired", "diverged"}
    assert ["lease_expired", "diverged"] in reasons  # a lost reply ended no attempt
    await view.nothing_left()


async def stored_answer(view: Scene, answer: Answer) -> bool:
    steps = await verify.steps_of(view.redis, answer.run_id)
    return steps.get("answer", {}).get("status") == "completed"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("write", ["enqueue", "persisted", "checkpoint.persist_assistant_message"])
async def test_a_fault_around_the_outbox_loses_no_message(view: Scene, write: str, mode: str):
    """The product cannot store the answer at first: its turn ends, and a job of its own stores it."""
    answer = view.turn(persist_fails=0 if write.startswith("checkpoint") else 1)
    view.stack.worker[0].pause()
    reader = view.ask(answer)
    await wait_until(lambda: all_accepted(view, [answer]), "the turn stands in the queue")
    service = view.worker(f"{write}-{mode}", "tests.support.crashing_worker", CRASH_AT=f"{write}:1:{mode}").start()
    await until_all_struck([service])
    view.stack.worker[0].resume()
    await reader

    async def stored() -> bool:
        return (await view.client.record(answer))["persist"] == "done"

    await wait_until(stored, "the answer is stored")
    await check(view, answer, outbox=True)
    assert len({call["message_id"] for call in view.calls(answer, "persist_assistant_message")}) == 1
    assert view.count(answer)["answer"] == 1
    await view.nothing_left()
    service.kill()
