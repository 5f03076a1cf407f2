"""An erasure whose process dies at any of its writes is finished by a repeat, or by a worker; its receipt is true."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.turns import SESSION, request
from turnwire.shared import keys
from turnwire.shared.erasure import Receipt
from turnwire.shared.errors import NotFound
from turnwire.shared.keys import session_key
from turnwire.shared.store import courier
from turnwire.shared.store.erasures import Erasures

USER = "ada"
OTHER = session_key("other")
WRITES = 20  # more than there are: the last runs are not interrupted


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Ends the process before or after its n-th command; 0: never."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.after = 0, False
        send = courier.Courier.send

        def counted(this: Any, *command: Any, **options: Any) -> Any:
            if self.left:
                self.left -= 1
                if not self.left:
                    if not self.after:
                        raise Killed
                    sent = send(this, *command, **options)

                    async def gone() -> None:
                        await sent
                        raise Killed

                    return gone()
            return send(this, *command, **options)

        monkeypatch.setattr(courier.Courier, "send", counted)


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    return Killer(monkeypatch)


@pytest.fixture
async def erasures(store, queue) -> Erasures:
    """Two sessions of a user, with three turns, of which none has ended."""
    made = Erasures(store, queue)
    for key in (SESSION.turn(0), SESSION.turn(1), OTHER.turn(0)):
        await made.users.note(key.session, USER)
        await store.submit(key, request(user=USER))
    return made


async def interrupted(killer: Killer, erase: Callable[[], Awaitable[Receipt]], at: int, *, after: bool) -> bool:
    """Erase until the process dies there. Returns False if it does not come so far."""
    killer.left, killer.after = at, after
    try:
        await erase()
    except Killed:
        return True
    finally:
        killer.left = 0
    return False


async def is_erased(redis: Any, session: str) -> bool:
    return not [name for name in await redis.keys("*") if f"{{{session}}}".encode() in name]


async def forget_jobs(redis: Any) -> None:
    """Drop what a worker would do away with."""
    for name in await redis.keys("*"):
        if name.startswith((b"arq:", b"turnwire:")):
            await redis.delete(name)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, WRITES))
async def test_a_repeat_finishes_the_erasure_of_a_session(redis, erasures, killer, at, after):
    was_interrupted = await interrupted(killer, lambda: erasures.erase_session(SESSION), at, after=after)
    is_done = await is_erased(redis, SESSION.session) and b"1" in (await redis.hgetall(keys.ERASURES)).values()
    if was_interrupted and not is_done:
        receipt = await erasures.erase_session(SESSION)
        assert (receipt.sessions, receipt.turns, receipt.open_turns) == (1, 2, 2)
        assert [receipt.id] == await erasures.kept()
    else:  # nothing is left to erase; the product is told of the first one
        with pytest.raises(NotFound):
            await erasures.erase_session(SESSION)
    assert await is_erased(redis, SESSION.session)
    assert await redis.exists(OTHER.turn(0).record)
    await forget_jobs(redis)
    await erasures.erase_session(OTHER)
    await forget_jobs(redis)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 2 * WRITES, 2))
async def test_a_repeat_finishes_the_erasure_of_a_user(redis, erasures, killer, at, after):
    await interrupted(killer, lambda: erasures.erase_user("default", USER), at, after=after)
    done = b"1" in (await redis.hgetall(keys.ERASURES)).values()
    receipt = await erasures.erase_user("default", USER)
    assert (receipt.sessions, receipt.turns) == ((0, 0) if done else (2, 3))
    assert await is_erased(redis, SESSION.session)
    assert await is_erased(redis, OTHER.session)
    assert await erasures.users.of("default", USER) == []
    await forget_jobs(redis)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, WRITES))
async def test_without_a_repeat_a_worker_finishes_what_was_kept(redis, erasures, killer, at, after):
    await interrupted(killer, lambda: erasures.erase_session(SESSION), at, after=after)
    announced = await redis.zrange(keys.OPEN_TURNS, 0, -1)
    for erasure_id in await erasures.kept():
        assert (keys.ERASURE_PREFIX + erasure_id).encode() in announced, "the sweep finds it"
        begun = await erasures.begin(erasure_id)
        assert begun is not None
        if not begun.is_erased:
            await erasures.wipe(begun.kept, begun.requested_at)
        assert await is_erased(redis, SESSION.session)
    await forget_jobs(redis)
    for session in (SESSION, OTHER):
        if await redis.exists(session.record):
            await erasures.erase_session(session)
    await forget_jobs(redis)


async def test_there_are_no_more_commands_than_these_tests_interrupt(redis, erasures, monkeypatch):
    sent = []
    send = courier.Courier.send

    def counted(this: Any, *command: Any, **options: Any) -> Any:
        sent.append(command)
        return send(this, *command, **options)

    monkeypatch.setattr(courier.Courier, "send", counted)
    await erasures.erase_session(SESSION)
    assert 6 <= len(sent) < WRITES - 1
    await erasures.erase_session(OTHER)
    await forget_jobs(redis)
