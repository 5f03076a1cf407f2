"""An API process is really killed in the middle of an erasure. A worker finishes what the process had begun."""

import httpx
import pytest

from chaos.client import Answer
from stack.process import answers
from tests.support.scene import Scene
from tests.support.struck import crashing_api
from tests.support.waiting import LIMIT_S, wait_until
from turnwire.shared import keys
from turnwire.shared.ledger import decode_row

# Each effect of an erasure of a user with two sessions, in order, once it is kept.
KEPT = [
    "erasure:1:after",
    "forget_user:1:after",
    "unname_turns:1:after",
    "erase:1:after",
    "unname_turns:2:after",
    "erase:2:after",
    "unname_session:1:after",
    "unname_session:2:after",
    "unname_rows:1:after",
    "erasure:2:before",
    "enqueue:1:before",
    "enqueue:1:after",
]
QUICK = {"erasure:1:after", "erase:1:after", "unname_session:1:after", "erasure:2:before", "enqueue:1:before"}


async def turns_of(view: Scene, user: str) -> list[Answer]:
    """Run two turns of a user to their ends, each in a session of its own, and one of somebody else."""
    turns = [view.turn(events=1) for _ in range(3)]
    for answer, whose in zip(turns, (user, user, "somebody else"), strict=True):
        answer.user = whose
        await view.ask(answer)
    await wait_until(lambda: view.redis.xlen(keys.LEDGER), "the rows")
    await view.nothing_left()
    return turns


async def erase_with_dying_api(view: Scene, user: str, at: str) -> None:
    service, url = crashing_api(view, at)
    service.start()
    await wait_until(lambda: answers(f"{url}/readyz"), "the faulty API")
    async with httpx.AsyncClient(base_url=url) as http:
        with pytest.raises(httpx.TransportError):
            await http.delete(f"/v1/users/{user}")
    assert service.wait(LIMIT_S) == -9
    assert f"crash point reached: {at.split(':', maxsplit=1)[0]}" in service.log()


async def is_left(view: Scene, answer: Answer) -> list[bytes]:
    return [name for name in await view.redis.keys("*") if f"{{{answer.session}}}".encode() in name]


async def named(view: Scene) -> set[str | None]:
    return {decode_row(fields[1]).user for _, fields in await view.redis.xrange(keys.LEDGER)}


async def sweep_now(view: Scene) -> None:
    """Let the sweep look at the job of the erasure now, as if its time had passed."""
    announced = await view.redis.zrange(keys.OPEN_TURNS, 0, -1)
    for job_id in announced:
        if job_id.startswith(keys.ERASURE_PREFIX.encode()):
            await view.redis.zadd(keys.OPEN_TURNS, {job_id: 0})


@pytest.mark.parametrize("at", [at if at in QUICK else pytest.param(at, marks=pytest.mark.long) for at in KEPT])
async def test_a_worker_finishes_an_erasure_whose_api_was_killed(view: Scene, at: str):
    first, second, other = await turns_of(view, "ada")
    await erase_with_dying_api(view, "ada", at)
    await sweep_now(view)
    await wait_until(lambda: _is_gone(view), "the end of the erasure")
    assert [await is_left(view, answer) for answer in (first, second)] == [[], []]
    assert await is_left(view, other)
    assert await named(view) == {None, "somebody else"}
    await view.nothing_left()


async def _is_gone(view: Scene) -> bool:
    return not await view.redis.exists(keys.ERASURES)


@pytest.mark.parametrize("at", ["erasure:1:before", "erase:2:after"])
async def test_a_repeat_at_another_api_finishes_it_at_once_and_has_the_receipt(view: Scene, at: str):
    first, second, _ = await turns_of(view, "ada")
    asked_at = await now_ms(view)
    await erase_with_dying_api(view, "ada", at)
    async with httpx.AsyncClient(base_url=view.stack.base_urls[0]) as http:
        receipt = (await http.delete("/v1/users/ada")).json()
    assert (receipt["sessions"], receipt["turns"], receipt["open_turns"]) == (2, 2, 0)
    assert receipt["ledger_rows"] == 2
    assert asked_at <= receipt["requested_at"] <= await now_ms(view)
    assert [await is_left(view, answer) for answer in (first, second)] == [[], []]
    assert await named(view) == {None, "somebody else"}
    await wait_until(lambda: _is_gone(view), "the product to be told")


async def now_ms(view: Scene) -> int:
    seconds, us = await view.redis.time()
    return int(seconds) * 1000 + int(us) // 1000
