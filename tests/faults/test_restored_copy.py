"""An older copy of Redis' data is restored under running processes, as docs/operations.md says."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.client import Answer
from chaos.verify import check_lines
from stack.redis_server import RedisServer
from tests.support.scene import Scene, scene
from tests.support.waiting import wait_until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    with RedisServer(tmp_path / "redis", aof=True) as server:
        yield server


async def copied(view: Scene, server: RedisServer, to: Path) -> None:
    await view.redis.bgsave()

    async def saved() -> bool:
        return not (await view.redis.info("persistence"))["rdb_bgsave_in_progress"]

    await wait_until(saved, "the copy is written")
    shutil.copy(server.directory / "dump.rdb", to)


async def restored(view: Scene, server: RedisServer, copy: Path) -> RedisServer:
    """Return the server that has the copy's data, at the same address."""
    server.stop()
    shutil.rmtree(server.directory / "appendonlydir", ignore_errors=True)
    shutil.copy(copy, server.directory / "dump.rdb")
    plain = RedisServer(server.directory).start()  # with the file switched on, it would not read the copy
    await view.redis.connection_pool.disconnect()
    await view.redis.config_set("appendonly", "yes")
    return plain


async def test_turns_end_and_nothing_mixes(tmp_path: Path, server: RedisServer):
    """Two turns run when the copy is made. One ends before it is restored, and two more turns are asked meanwhile."""
    async with scene(tmp_path, workers=2, redis=server) as view:
        before = await view.ask(view.turn())
        gates = [view.gate() for _ in range(3)]
        runs, ended, newer = (view.turn(gate={"5": str(gate)}) for gate in gates)
        readers = [view.ask(runs), view.ask(ended)]
        await wait_until(lambda: runs.deltas() == ended.deltas() == 5, "both run")
        await copied(view, server, copy := tmp_path / "copy.rdb")
        gates[1].touch()
        await readers[1]
        later = await view.ask(view.turn())
        view.ask(newer)
        await wait_until(lambda: newer.deltas() == 5, "the newest one runs")

        plain = await restored(view, server, copy)
        try:
            for gate in gates:
                gate.touch()
            await readers[0]
            await view.check(before, runs)
            assert view.count(runs)["produce"] == 1  # its worker wrote again what the copy lacks
            await check_that_it_ran_again(view, ended)
            await view.nothing_left()
            for lost in (later, newer):  # nothing of them is left, so a client asks them anew
                assert await view.status(lost) is None
                again = await view.ask(view.turn(lost.session))
                assert again.types[-1] == "session.run.completed"
        finally:
            plain.stop()


async def check_that_it_ran_again(view: Scene, answer: Answer) -> None:
    """Check a turn whose end the copy lacks: it ran twice, nobody sees both, and both have one message id."""
    await view.ended(answer)
    await view.called(answer, "on_turn_complete", 2)
    assert view.count(answer)["produce"] == 2
    assert check_lines(await view.client.read(answer)) == []
    assert len({call["message_id"] for call in view.calls(answer, "persisted")}) == 1
