"""Two deployments share one Redis server, in two databases. Pub/sub spans databases, but neither hears the other."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from chaos.client import Answer
from stack.redis_server import RedisServer
from tests.support.scene import Scene, scene
from tests.support.waiting import wait_until
from turnwire.shared.channels import cancels_channel
from turnwire.shared.keys import TurnKey
from turnwire.shared.store.waking import cancel_and_wake

SESSION = "s-of-both"
STRANGE = [
    b"",
    b"\n",
    b"\xff\xfe\x00",
    b"1-",
    b"x-y\n{}",
    b"1-2",
    b"1-2-3\n{}",
    b"-1-0\n{}",
    b"1-0\nnonsense",
    b"v2 1-0",
]


class Database(RedisServer):
    """One database of a server that is running."""

    def __init__(self, server: RedisServer, number: int) -> None:
        super().__init__(server.directory)
        self.number = number

    @property
    def url(self) -> str:
        return f"{super().url}?db={self.number}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("shared-redis")) as running:
        yield running


@pytest.fixture
async def both(tmp_path: Path, server: RedisServer) -> AsyncIterator[list[Scene]]:
    """Run one API and one worker in each of two databases."""
    async with AsyncExitStack() as exits:
        yield [
            await exits.enter_async_context(scene(tmp_path / f"db{number}", redis=Database(server, number)))
            for number in (0, 1)
        ]


async def test_neither_deployment_cancels_the_others_turn_or_streams_its_text(both: list[Scene]):
    gates = [view.gate() for view in both]
    answers = [
        view.turn(SESSION, gate={"3": str(gate)}, events=events)
        for view, gate, events in zip(both, gates, (6, 9), strict=True)
    ]
    readers = [view.ask(answer) for view, answer in zip(both, answers, strict=True)]
    for answer in answers:
        await wait_until(partial(is_under_way, answer), "both answers under way")
    first, second = both
    assert await cancel_and_wake(second.store, second.queue, TurnKey.parse(answers[1].run_id), "") == "requested"
    await readers[1]
    gates[0].touch()
    await readers[0]
    assert [await view.status(answer) for view, answer in zip(both, answers, strict=True)] == ["completed", "cancelled"]
    await first.check(answers[0])
    assert [line["id"] for line in answers[1].lines] == ["1-0", "1-1", "1-2", "1-3", "1-4"]


async def test_a_message_in_the_name_of_the_other_deployment_cancels_nothing(both: list[Scene]):
    """Whoever has published the message, a worker first asks its own database."""
    view = both[1]
    gate = view.gate()
    answer = view.turn(SESSION, gate={"3": str(gate)})
    reader = view.ask(answer)
    await wait_until(partial(is_under_way, answer), "the answer under way")
    assert await view.redis.publish(cancels_channel("db1"), answer.run_id) == 1
    await let_the_worker_hear(view)
    gate.touch()
    await reader
    await view.check(answer)


async def test_strange_messages_end_no_process_and_reach_no_reader(both: list[Scene]):
    for view, deployment in zip(both, ("", "db1"), strict=True):
        gate = view.gate()
        answer = view.turn(gate={"3": str(gate)})
        reader = view.ask(answer)
        await wait_until(partial(is_under_way, answer), "the answer under way")
        for channel in (cancels_channel(deployment), TurnKey.parse(answer.run_id).channel(deployment)):
            for message in STRANGE:
                assert await view.redis.publish(channel, message) == 1, channel
        await let_the_worker_hear(view)
        gate.touch()
        await reader
        await view.check(answer)
        assert all(service.running for service in view.stack.services)
        lines = "".join(service.log_path.read_text() for service in view.stack.services)
        assert "Traceback" not in lines


def is_under_way(answer: Answer) -> bool:
    return answer.deltas() == 3


async def let_the_worker_hear(view: Scene) -> None:
    """Cancel a later turn through the same channel. Once it ends, the worker has read every earlier message."""
    later = view.turn(gate={"1": str(view.gate())})
    reader = view.ask(later)
    await wait_until(lambda: later.deltas() == 1, "another answer under way")
    await cancel_and_wake(view.store, view.queue, TurnKey.parse(later.run_id), "")
    await reader
