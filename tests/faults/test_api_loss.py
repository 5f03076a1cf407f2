"""An API process dies: clients resume at their cursor on another one, and a submit that was cut in half is healed."""

import pytest

from chaos.client import Answer, Client
from stack.process import Service, answers
from tests.support.scene import Scene, scene
from tests.support.struck import crashing_api
from tests.support.waiting import LIMIT_S, wait_until
from turnwire.shared import keys


async def test_a_client_resumes_on_another_api_without_a_gap_or_a_duplicate(tmp_path):
    async with scene(tmp_path, apis=2) as view:
        gates = [view.gate() for _ in range(8)]
        turns = [view.turn(events=12, pace_ms=5, gate={"5": str(gate)}) for gate in gates]
        readers = [view.ask(answer, retry=True) for answer in turns]
        await wait_until(lambda: all(answer.deltas() == 5 for answer in turns), "every client is mid-stream")
        view.stack.api[0].kill()
        for gate in gates:
            gate.touch()
        for reader in readers:
            await reader
        await wait_until(lambda: all(answer.ended for answer in turns), "every end")
        view.client.base_urls[0] = view.client.base_urls[1]  # fresh readers ask the API that is left
        await view.check(*turns)
        assert sorted(answer.connections for answer in turns) == [1] * 4 + [2] * 4
        assert all(view.count(answer)["produce"] == 1 for answer in turns)


def faulty_api(view: Scene, write: str, mode: str) -> tuple[Service, str]:
    """Return an API with a fault at this write. It enqueues by a write of its own if the queue is in another database.

    So an API that is to fail there gets the address of the same database in two spellings.
    """
    assert view.stack.redis is not None
    apart = {"TURNWIRE_QUEUE_REDIS_URL": f"{view.stack.redis.url}?db=0"} if write == "enqueue" else {}
    return crashing_api(view, f"{write}:1:{mode}", **apart)


async def submit_to_dying_api(view: Scene, write: str, mode: str, user: str | None = None) -> Answer:
    """Return a turn whose only client got no answer, because its API died at this write.

    The turn of a user is announced before it is written, and so is every turn if the queue is in another database.
    """
    service, url = faulty_api(view, write, mode)
    service.start()
    await wait_until(lambda: answers(f"{url}/readyz"), "the faulty API")
    answer = view.turn()
    answer.user = user
    async with Client([url]) as client:
        await client.ask(answer, retry=False)
    assert answer.refusals
    assert not answer.lines
    assert service.wait(LIMIT_S) == -9
    return answer


@pytest.mark.parametrize("mode", ["before", "after"])
@pytest.mark.parametrize(
    ("write", "user"), [("announce", "ada"), ("submit", "ada"), ("submit", None), ("enqueue", None)]
)
async def test_repeating_a_post_whose_api_died_runs_the_turn_at_once(
    view: Scene, write: str, user: str | None, mode: str
):
    answer = await submit_to_dying_api(view, write, mode, user)
    retried = view.turn(answer.session)
    retried.user = user
    await view.ask(retried)
    assert f"{retried.run_id}: nobody worked on this" not in view.stack.worker[0].log()  # no sweep was needed
    await view.check(retried)
    assert view.count(retried)["produce"] == 1


@pytest.mark.parametrize("user", ["ada", None])
async def test_a_turn_whose_api_died_before_its_job_was_written_runs_without_any_client(view: Scene, user: str | None):
    """The client may be gone, too. But the submit was announced, so the sweep finds the turn."""
    answer = await submit_to_dying_api(view, "enqueue", "before", user)
    await view.ended(answer, limit_s=30)
    assert await view.status(answer) == "completed"
    await view.nothing_left()


async def test_a_turn_that_was_announced_but_never_written_is_forgotten(view: Scene):
    answer = await submit_to_dying_api(view, "submit", "before", "ada")
    assert await view.redis.zscore(keys.OPEN_TURNS, answer.run_id)
    await view.due_now(answer)
    await view.nothing_left()
    assert await view.status(answer) is None


@pytest.mark.parametrize("write", ["submit", "enqueue"])
async def test_a_reply_that_the_api_lost_is_asked_for_again_and_the_turn_runs_once(view: Scene, write: str):
    service, url = faulty_api(view, write, "lost")
    service.start()
    await wait_until(lambda: answers(f"{url}/readyz"), "the faulty API")
    answer = view.turn()
    async with Client([url]) as client:
        await client.ask(answer)
    assert answer.refusals == []
    await view.check(answer)
    assert view.count(answer)["produce"] == 1
