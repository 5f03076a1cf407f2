"""A turn whose log exceeds a limit fails with a typed error, and its worker continues with the next turn."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.client import TERMINAL_TYPES, Client
from stack.cluster import Stack
from tests.support.scene import SETTINGS, Scene

EVENT_BYTES, LOG_EVENTS, LOG_BYTES = 2000, 40, 6000
LIMITS = {
    "TURNWIRE_HOOKS": "product:hooks",
    "TURNWIRE_MAX_EVENT_BYTES": str(EVENT_BYTES),
    "TURNWIRE_MAX_LOG_EVENTS": str(LOG_EVENTS),
    "TURNWIRE_MAX_LOG_BYTES": str(LOG_BYTES),
}
PRODUCTS = Path(__file__).parent.parent / "conformance"


@pytest.fixture(scope="module")
def limited_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    env = SETTINGS | LIMITS | {"PYTHONPATH": str(PRODUCTS)}
    with Stack(tmp_path_factory.mktemp("limits"), workers=1, env=env) as stack:
        yield stack
        assert "Traceback" not in stack.api[0].log()


@pytest.fixture
async def limited(limited_stack: Stack, tmp_path: Path) -> AsyncIterator[Scene]:
    async with Scene(limited_stack, tmp_path / "ledger") as view:
        yield view


@pytest.mark.parametrize(
    ("play", "code"),
    [
        ([{"say": "a"}, {"say": "x" * EVENT_BYTES}, {"say": "b"}], "event_too_large"),
        ([{"count": 10 * LOG_EVENTS}], "log_too_large"),
        ([{"say": "x" * 1000}] * 10, "log_too_large"),
    ],
    ids=["event", "events", "bytes"],
)
async def test_a_turn_beyond_a_limit_fails_and_its_log_ends_properly(limited: Scene, play: list[Any], code: str):
    pid = limited.stack.worker[0].pid
    answer = await limited.ask(limited.turn(play=play))
    types = [line["type"] for line in answer.lines]
    assert types[-2:] == ["error", "session.run.failed"], types
    assert sum(name in TERMINAL_TYPES for name in types) == 1
    assert [answer.lines[-2]["data"]["code"], answer.lines[-1]["data"]["code"]] == [code, code]
    assert answer.lines == await limited.client.read(answer)
    record = await limited.client.record(answer)
    assert (record["status"], record["error"]["code"]) == ("failed", code)
    assert len(types) <= LOG_EVENTS + 2
    await next_turn_completes(limited, answer.session, limited.client)
    assert limited.stack.worker[0].pid == pid


async def next_turn_completes(limited: Scene, session: str, client: Client) -> None:
    following = await limited.ask(limited.turn(session, 1, play=[{"count": 5}]))
    assert following.types[-1] == "session.run.completed"


async def test_a_turn_just_within_the_limits_completes(limited: Scene):
    answer = await limited.ask(limited.turn(play=[{"count": 30}]))
    assert answer.types[-1] == "session.run.completed"
    answer = await limited.ask(limited.turn(play=[{"say": "x" * (EVENT_BYTES - 200)}]))
    assert (answer.types[-1], answer.types.count("message.part.updated")) == ("session.run.completed", 1)
