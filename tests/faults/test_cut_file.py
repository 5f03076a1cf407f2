"""The power fails, and the append-only file lacks its end. No log gets a gap or two answers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaos import verify
from chaos.client import Answer, Client
from stack.redis_server import RedisServer
from tests.support.scene import Scene, scene
from tests.support.waiting import wait_until

TURNS = 20
LIMIT_S = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", aof=True) as server:
        yield server


@pytest.fixture
async def view(server: RedisServer, tmp_path: Path) -> AsyncIterator[Scene]:
    env = {"TURNWIRE_LEASE_MS": "20000"}  # longer than Redis is away, also on a busy machine
    async with scene(tmp_path, workers=2, env=env, redis=server) as view:
        yield view


def append_only_file(server: RedisServer) -> Path:
    """Return the file that the server appends to now. Redis 6 keeps a single one."""
    files = [*server.directory.glob("appendonlydir/*.incr.aof"), *server.directory.glob("appendonly.aof")]
    return max(files, key=lambda path: path.stat().st_mtime_ns)


@contextmanager
def power_cut(server: RedisServer) -> Iterator[Path]:
    """Stop Redis until the end of the block. Meanwhile its file can be cut."""
    server.kill()
    yield append_only_file(server)
    server.start()


async def streamed(answers: list[Answer], deltas: int) -> None:
    await wait_until(lambda: all(answer.deltas() >= deltas for answer in answers), f"{deltas} deltas of each", LIMIT_S)


@pytest.mark.parametrize(
    "share",
    [pytest.param(0.999, marks=pytest.mark.long), 0.5],
    ids=["a few bytes", "half of what was streamed"],
)
async def test_events_and_steps_are_written_again(view: Scene, server: RedisServer, share: float):
    gate = view.gate()  # no turn may end before the power cut, because its answer would be lost
    shape: dict[str, Any] = {"events": 150, "pace_ms": 20, "gate": {"145": str(gate)}}
    turns = [view.turn(**shape, stream=number % 2 == 0) for number in range(TURNS)]
    readers = [view.ask(answer, retry=True) for answer in turns]
    await streamed(turns, 5)
    before = append_only_file(server).stat().st_size
    await streamed(turns, 40)
    with power_cut(server) as path:
        after = path.stat().st_size
        cut_at = before + int((after - before) * share)
        with path.open("r+b") as file:
            file.truncate(cut_at)
    gate.touch()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*readers)
    assert cut_at < after
    await view.check(*turns)
    assert {view.count(answer)["produce"] for answer in turns} == {1}
    assert {answer.connections for answer in turns} == {1}
    assert "they are written again" in "".join(service.log() for service in view.stack.worker)


async def test_turns_whose_claims_were_lost_begin_again_in_an_attempt_of_their_own(view: Scene, server: RedisServer):
    gate = view.gate()
    turns = [view.turn(events=30, pace_ms=20, gate={"25": str(gate)}) for _ in range(TURNS)]
    for worker in view.stack.worker:
        worker.pause()
    await view.submit(*turns)
    accepted = append_only_file(server).stat().st_size
    for worker in view.stack.worker:
        worker.resume()
    async with Client(view.stack.base_urls, fails_over=True) as client:
        readers = [asyncio.create_task(client.ask(answer)) for answer in turns]
        await streamed(turns, 10)
        with power_cut(server) as path, path.open("r+b") as file:
            file.truncate(accepted + 10)  # in the middle of the first claim
        gate.touch()
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*readers)
    await view.check(*turns)
    first = [verify.cursor(verify.effective(answer.lines)[0]["id"])[0] for answer in turns]
    assert min(first) > verify.SKIPPED_ATTEMPTS
