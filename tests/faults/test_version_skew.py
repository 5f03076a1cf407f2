"""Processes of the latest release and of this version share a Redis, as they do during an upgrade or a rollback."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chaos.client import Answer
from stack.cluster import Stack
from tests.support.released import Versions, unpack
from tests.support.scene import SETTINGS, Scene, open_gate
from tests.support.waiting import wait_until

VERSIONS = ("old", "new")
MIXTURES = [("old", "new"), ("new", "old")]


@pytest.fixture(scope="module")
def shared_stack(module_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run an API and a worker of each version."""
    released = unpack(tmp_path_factory.mktemp("released"))
    env = SETTINGS | {"CHAOS_LEDGER": str(module_directory / "ledger")}
    stack = Stack(module_directory, workers=2, apis=2, env=env)
    for service in (stack.api[0], stack.worker[0]):
        service.cwd = released
    with stack:
        yield stack


@pytest.fixture
async def versions(view: Scene) -> AsyncIterator[Versions]:
    """Return the processes. The client asks both APIs in turn."""
    versions = Versions(view)
    yield versions
    view.client.base_urls[:] = view.stack.base_urls


async def suspended(view: Scene, answer: Answer) -> None:
    async def waits() -> bool:
        return await view.status(answer) == "suspended"

    await wait_until(waits, f"{answer.run_id} waits for its signal")


async def check_on_both_apis(versions: Versions, *answers: Answer) -> None:
    """Check that turns completed, and that the API of each version shows the same log and record of them."""
    await versions.work_only("old", "new")
    await versions.view.ask(versions.view.turn())  # a new worker tidies the lines of jobs, which an old one ignores
    for version in VERSIONS:
        versions.ask_only(version)
        await versions.view.check(*answers)


@pytest.mark.parametrize(("api", "worker"), MIXTURES)
async def test_turns_of_an_api_are_run_by_workers_of_the_other_version(versions: Versions, api: str, worker: str):
    view = versions.view
    await versions.work_only(worker)
    versions.ask_only(api)
    plain, stream = await view.ask(view.turn()), await view.ask(view.turn(stream=True))
    second = await view.ask(view.turn(stream.session, 1))

    signalled = view.turn(signal="approval")
    reading = view.ask(signalled)
    await suspended(view, signalled)
    assert (await view.client.signal(signalled, "approval", "")).status_code == 202
    await reading

    cancelled = view.turn(gate={"1": str(view.gate())})
    reading = view.ask(cancelled)
    await wait_until(lambda: cancelled.deltas() == 1, "the turn runs")
    assert (await view.client.cancel(cancelled, "enough")).status_code == 202
    assert (await reading).types[-1] == "session.run.failed"

    assert {answer.connections for answer in (plain, stream, second, signalled, cancelled)} == {1}
    await check_on_both_apis(versions, plain, stream, second)
    replay = await view.ask(view.turn(plain.session))
    assert replay.replayed
    assert replay.lines[1]["data"]["finalText"] == (await view.client.record(plain))["final_text"]


@pytest.mark.parametrize(("first", "second"), MIXTURES)
@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_a_turn_goes_on_in_a_worker_of_the_other_version(versions: Versions, first: str, second: str, end: str):
    view = versions.view
    await versions.work_only(first)
    gate = view.gate_of_each_attempt()
    turn = view.turn(events=6, gate={"3": str(gate)})
    reading = view.ask(turn)
    await wait_until(lambda: turn.deltas() == 3, "the turn runs")
    await versions.work_only(first, second)
    getattr(versions.worker(first), end)()
    await view.called(turn, "produce", 2)
    for attempt in range(2, 6):  # on a very busy machine, a lease may end before it is renewed
        open_gate(gate, attempt)
    await reading
    assert turn.connections == 1
    reasons = {line["data"]["reason"] for line in turn.lines if line["type"] == "session.run.resumed"}
    assert reasons
    assert reasons <= {"lease_expired", "handover"}
    await wait_until(lambda: not versions.worker(first).running, "the first worker ends")
    await check_on_both_apis(versions, turn)


@pytest.mark.parametrize(("before", "after"), [("old", "new"), pytest.param("new", "old", marks=pytest.mark.long)])
async def test_turns_that_wait_go_on_when_every_process_is_of_the_other_version(
    versions: Versions, before: str, after: str
):
    """A step that is stored stays stored: after the signal, nobody asks the model again."""
    view = versions.view
    await versions.work_only(before)
    versions.ask_only(before)
    awaits = view.turn(stream=True, signal="approval")
    await view.submit(awaits)
    await suspended(view, awaits)
    await versions.work_only()
    waiting = [view.turn() for _ in range(3)]
    following = [view.turn(answer.session, 1) for answer in waiting]
    await view.submit(*waiting, *following)

    versions.ask_only(after)
    readers = [view.ask(answer) for answer in (*waiting, *following, awaits)]
    await versions.work_only(after)
    assert (await view.client.signal(awaits, "approval", "")).status_code == 202
    await asyncio.gather(*readers)
    assert view.count(awaits)["answer"] == 1
    await check_on_both_apis(versions, *waiting, *following)


async def test_an_erasure_is_whole_in_both_versions(versions: Versions):
    view = versions.view
    await versions.work_only("old", "new")
    for version, status in (("old", 204), ("new", 200)):  # the release has no receipt yet
        turn = await view.ask(view.turn())
        versions.ask_only(version)
        answer = await view.client.http.delete(f"{view.client.base_url()}/v1/sessions/{turn.session}")
        assert answer.status_code == status
        assert await view.dump(turn) == {}


async def test_an_old_worker_runs_a_turn_without_the_fields_that_it_does_not_know(versions: Versions):
    view = versions.view
    versions.ask_only("new")
    await versions.work_only("old")
    new_fields = {
        "message": [{"type": "text", "text": "hello"}],
        "options": {"temperature": 0.5},
        "parent": -1,
        "priority": "batch",
    }
    turn = view.turn()
    body = new_fields | {"metadata": turn.metadata}
    answer = await view.client.http.post(view.client.base_url() + turn.path, json=body)
    turn.lines += [json.loads(line) for line in answer.text.splitlines()]
    await check_on_both_apis(versions, turn)
