"""A reader that resumes ends with the same log as all others, wherever it was cut, and whatever died meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos.client import Answer
from chaos.verify import check_lines, effective
from stack.cluster import Stack
from tests.support.resuming import NDJSON, SSE, Cut, Resuming
from tests.support.scene import SETTINGS, Scene, open_gate
from tests.support.waiting import wait_until
from turnwire.shared.keys import TurnKey

EVENTS = 12
GATE = 6  # after how many deltas an attempt waits for the test
FORMS = (NDJSON, SSE)

cuts = st.lists(st.builds(Cut, st.integers(1, GATE + 2), st.sampled_from(FORMS), st.integers(0, 1)), max_size=4)
plans = st.lists(st.tuples(cuts, st.sampled_from(FORMS), st.booleans()), min_size=3, max_size=6)


@pytest.fixture(scope="module")
def resume_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def two_apis(resume_directory: Path) -> Iterator[Stack]:
    env = SETTINGS | {"CHAOS_LEDGER": str(resume_directory / "ledger"), "TURNWIRE_MAX_ATTEMPTS": "20"}
    with Stack(resume_directory, workers=2, apis=2, env=env) as stack:
        yield stack
        assert not any("Traceback" in api.log() for api in stack.api)


@pytest.fixture
async def view(two_apis: Stack, resume_directory: Path) -> AsyncIterator[Scene]:
    async with Scene(two_apis, resume_directory / "ledger") as view:
        yield view


async def ask(view: Scene) -> tuple[Answer, Path]:
    """Ask a turn of which every attempt waits in its middle."""
    gate = view.gate_of_each_attempt()
    answer = view.turn(events=EVENTS, gate={str(GATE): str(gate)})
    await view.submit(answer)
    return answer, gate


async def written(view: Scene, answer: Answer, attempt: int) -> None:
    """Wait until the attempt is at its gate, with all earlier events in the log."""

    async def there() -> bool:
        log = await view.redis.xrevrange(log_key(answer), count=1)
        return bool(log) and log[0][0].startswith(b"%d-" % attempt) and b"%d.5 " % attempt in log[0][1][b"e"]

    await wait_until(there, f"attempt {attempt} at its gate", 15)


async def followed_by(view: Scene, answer: Answer, apis: int) -> bool:
    [(_, count)] = await view.redis.pubsub_numsub(log_key(answer))
    return int(count) == apis


def log_key(answer: Answer) -> str:
    return TurnKey.parse(answer.run_id).events


async def take_over(view: Scene, answer: Answer, attempt: int) -> None:
    """Kill the worker of this attempt, and wait for the next one at its gate."""
    worker = await view.runs_on(answer)
    worker.kill()
    worker.start()
    await written(view, answer, attempt + 1)


async def check(view: Scene, answer: Answer, readers: Sequence[asyncio.Task[list[dict[str, object]]]]) -> None:
    """Check that every reader has kept the same events as a fresh one gets."""
    fresh = await view.client.read(answer)
    assert check_lines(fresh, events=EVENTS) == []
    for reader in readers:
        lines = await reader
        assert check_lines(lines, events=EVENTS) == []
        assert effective(lines) == fresh


@pytest.mark.timeout(180)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=plans, takeovers=st.integers(0, 2))
async def test_readers_cut_anywhere_through_takeovers_end_with_the_same_log(
    view: Scene, plans: list[tuple[list[Cut], str, bool]], takeovers: int
):
    """After each of its cuts, a reader comes back at once, or only when the turn has ended."""
    answer, gate = await ask(view)
    readers = [Resuming(view.stack.base_urls, answer.path, cuts, form=form) for cuts, form, _ in plans]
    for reader, (_, _, late) in zip(readers, plans, strict=True):
        reader.may_return = not late
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        await written(view, answer, 1)
        running = [asyncio.create_task(reader.run(client)) for reader in readers]
        for attempt in range(1, takeovers + 1):
            await take_over(view, answer, attempt)
        open_gate(gate, takeovers + 1)
        await view.ended(answer)
        for reader in readers:
            reader.may_return = True
        await check(view, answer, running)


@pytest.mark.parametrize("form", FORMS)
async def test_every_cursor_of_a_running_turn_and_of_its_dead_attempt_leads_to_the_end(view: Scene, form: str):
    """This holds while attempt 2 runs and after it. A cursor that the takeover discarded first leads to the rewind."""
    answer, gate = await ask(view)
    await written(view, answer, 1)
    dead = [f"1-{seq}" for seq in range(GATE + 1)]
    await take_over(view, answer, 1)
    live = [f"2-{seq}" for seq in range(1, GATE + 2)]
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        following = [asyncio.create_task(rest(client, view, answer, cursor, form)) for cursor in dead + live]
        await wait_until(partial(followed_by, view, answer, 2), "both processes follow")
        open_gate(gate, 2)
        fresh = await view.client.read(answer)
        for cursor, reader in zip(dead + live, following, strict=True):
            lines = await reader
            assert lines == await rest(client, view, answer, cursor, form)
            if cursor in dead:
                assert lines[0]["type"] == "session.run.resumed"
                assert lines == fresh[1:]
            else:
                assert [fresh[0], *lines] == [fresh[0], *fresh[1 + live.index(cursor) + 1 :]]
        last = {"Accept": form, "Last-Event-ID": fresh[-1]["id"]}
        ended = await client.get(f"{view.stack.base_urls[1]}{answer.path}/events", headers=last)
        assert (ended.status_code, ended.content) == (204 if form == SSE else 200, b"")


async def rest(
    client: httpx.AsyncClient, view: Scene, answer: Answer, cursor: str, form: str
) -> list[dict[str, object]]:
    """Return the events after a cursor, from the two API processes in turn."""
    reader = Resuming(view.stack.base_urls[:: 1 if cursor.endswith("1") else -1], answer.path, [], form=form)
    reader.lines = [{"id": cursor, "type": "seen"}]
    return (await reader.run(client))[1:]


async def test_readers_survive_the_death_of_every_api_process(view: Scene):
    answer, gate = await ask(view)
    await written(view, answer, 1)
    readers = [
        Resuming(view.stack.base_urls, answer.path, [Cut(3, form, api)], form=form) for form in FORMS for api in (0, 1)
    ]
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        running = [asyncio.create_task(reader.run(client)) for reader in readers]
        await wait_until(lambda: all(len(reader.lines) == GATE + 1 for reader in readers), "all are live")
        for number in (0, 1):
            view.stack.api[number].kill()
            view.stack.api[number].start()
            view.stack.wait_api(number)
        open_gate(gate, 1)
        await view.ended(answer)
        await check(view, answer, running)
