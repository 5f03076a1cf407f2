"""Starts what `streams` measures: Turnwire on a Redis of its own, and the floor. Each part starts both anew."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.rig.services import START_LIMIT_S, running, turnwire, workspace
from benchmarks.rig.tail_client import Answer, WrongAnswerError
from stack.cluster import Stack, bare_environment
from stack.process import Service, answers, free_port
from stack.redis_server import RedisServer

COLUMNS = ["", "goal", "Turnwire", "floor", "share of the floor"]


@dataclass(frozen=True)
class Sizes:
    """How much each part does."""

    rounds: int = 3
    readers: int = 1000
    fan_events: int = 500
    steps: Sequence[int] = (50, 100, 200, 300, 500, 800, 1000, 1300, 1600)  # turns at 30 events/s each
    compared: int = 300  # the number of turns at which Turnwire is compared with the floor
    seconds: float = 10.0
    tails: int = 10_000
    tailed_turns: int = 100
    idle_s: float = 10.0
    replays: int = 5000
    connections: int = 50
    log_events: int = 10_000
    stored: Sequence[int] = (50, 1000)  # numbers of events of the turns whose memory is read
    counted: int = 100  # how many turns run while commands are counted
    lone: int = 20
    at_once: int = 100
    burst_events: int = 50
    paced_events: int = 100


QUICK = Sizes(1, 300, 200, (100, 300), 300, 3, 1000, 100, 5, 1000, 50, 2000, (50, 1000), 30, 5, 100, 50, 50)
TINY = Sizes(1, 5, 20, (3,), 3, 0.3, 20, 4, 0.2, 20, 2, 100, (5, 50), 3, 1, 3, 5, 5)


@dataclass(frozen=True)
class Scene:
    """The running services."""

    directory: Path
    redis: RedisServer
    stack: Stack
    floor: Service
    floor_url: str

    @property
    def floor_stack(self) -> Any:
        """The floor in the form of a stack. Its one process stands for the API, the worker and Redis."""
        url, one = self.floor_url, self.floor
        return SimpleNamespace(base_urls=[url], api=[one], worker=[one], redis=one)


@contextmanager
def scene(env: Mapping[str, str] | None = None) -> Iterator[Scene]:
    """Run all services until the end of the block."""
    with (
        workspace() as directory,
        RedisServer(directory / "redis", port=0) as redis,
        floor(directory) as (service, url),
        turnwire(directory, redis, env=env) as stack,
    ):
        yield Scene(directory, redis, stack, service, url)


@contextmanager
def floor(directory: Path) -> Iterator[tuple[Service, str]]:
    """Run the bare app. Yields its process and its URL."""
    port = free_port()
    env = bare_environment() | {"BENCH_PORT": str(port)}
    with running(directory, "floor", ["-m", "benchmarks.rig.floor"], env) as service:
        url = f"http://127.0.0.1:{port}"
        service.wait_until(lambda: answers(f"{url}/readyz"), START_LIMIT_S)
        yield service, url


def pieces(answer: Answer) -> list[int]:
    """Return how many lines each write of an answer had."""
    _, _, body = b"".join(data for _, data in answer.parts).partition(b"\r\n\r\n")
    found, at = [], 0
    while size := int(body[at : (begins := body.index(b"\r\n", at) + 2)], 16):
        found.append(body.count(b"\n", begins, begins + size))
        at = begins + size + 2
    return found


def same(answers: Sequence[Answer], count: int) -> list[tuple[int, int]]:
    """Check that all readers got the same complete stream. Returns when the first and last event of each came (ns)."""
    spans, reference = [], None
    for answer in answers:
        got = answer.events(count)
        ids = [(event.id, event.type, event.data) for event in got]
        reference = reference or ids
        if ids != reference:
            raise WrongAnswerError("two readers of a turn got different events")
        if any(after.at_ns < before.at_ns for before, after in pairwise(got)):
            raise WrongAnswerError("the clock went back")
        spans.append((got[0].at_ns, got[-1].at_ns))
    return spans


def share(ours: float, least: float, *, higher_is_better: bool) -> str:
    """Return how much of the floor's performance Turnwire has, in percent, as text."""
    part, whole = (ours, least) if higher_is_better else (least, ours)
    return f"{100 * part / whole:.0f} %" if whole else "-"
