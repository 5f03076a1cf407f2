"""Measures the same turns at other services in the same run: a naive one on arq, one on taskiq, LangGraph's server."""

import asyncio
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import uvloop

from benchmarks.rig.langgraph_client import LangGraphClient, langgraph
from benchmarks.rig.langgraph_client import produced as custom_events
from benchmarks.rig.measure import medians, percentile
from benchmarks.rig.report import Report, ratio
from benchmarks.rig.scene import Sizes, scene
from benchmarks.rig.services import START_LIMIT_S, naive, running
from benchmarks.rig.tail_client import TURNWIRE_EVENTS, Answer, TailClient, closed_loop
from benchmarks.rig.venvs import LANGGRAPH_LOCK, PEERS_LOCK, PEERS_VENV, version
from stack.cluster import bare_environment
from stack.process import ProcessError, answers, free_port
from stack.redis_server import RedisServer
from stack.venvs import SetupError, interpreter
from turnwire import __version__

LIMIT_S = 180.0
PACE_PER_S = 30.0
LONGEST_PAUSE_S = 0.5  # the longest pause between two lone turns, which is the time between two polls of arq
FIGURES = {  # figure -> is more better?
    "lone turn: first event, p50 ms": False,
    "lone turn: first event, p99 ms": False,
    "at once: turns/s": True,
    "at once: events/s": True,
    "at 30 events/s: all done, s": False,
    "at 30 events/s: late ms p50": False,
    "at 30 events/s: late ms p99": False,
}


def our_events(answer: Answer, count: int) -> list[tuple[int, int]]:
    """Check an answer, and return when each of the product's events was made and when it was read."""
    events = answer.events(count + TURNWIRE_EVENTS)
    return [(event.data["at"], event.at_ns) for event in events if event.type == "message.part.updated"]


@dataclass(frozen=True)
class Peer:
    """One service, and the function that reads its answers."""

    name: str
    client: TailClient
    read: Callable[[Answer, int], list[tuple[int, int]]] = our_events


async def measure(peer: Peer, sizes: Sizes, mark: str) -> dict[str, float]:
    """Measure one round of one service."""

    async def ask(name: str, events: int, rate_per_s: float = 0) -> Answer:
        return await peer.client.ask(f"{mark}{name}", {"events": events, "rate_per_s": rate_per_s, "stamp": True})

    await ask("warm", 3)
    dice, first_ms = random.Random(7), []
    for number in range(sizes.lone):
        await asyncio.sleep(dice.uniform(0, LONGEST_PAUSE_S))
        answer = await ask(f"lone{number}", 3)
        first_ms.append((peer.read(answer, 3)[0][1] - answer.sent_ns) / 1e6)
    began_s = time.monotonic()
    names = [f"burst{number}" for number in range(sizes.at_once)]
    burst = await closed_loop(lambda name: ask(name, sizes.burst_events), names, len(names))
    burst_s = time.monotonic() - began_s
    names = [f"paced{number}" for number in range(sizes.at_once)]
    began_s = time.monotonic()
    paced = await closed_loop(lambda name: ask(name, sizes.paced_events, PACE_PER_S), names, len(names))
    paced_s = time.monotonic() - began_s
    events = sum(len(peer.read(answer, sizes.burst_events)) for answer in burst)
    late_ms = [(at - made) / 1e6 for answer in paced for made, at in peer.read(answer, sizes.paced_events)]
    lone = [percentile(first_ms, percent) for percent in (50, 99)]
    late = [percentile(late_ms, percent) for percent in (50, 99)]
    return dict(zip(FIGURES, [*lone, len(burst) / burst_s, events / burst_s, paced_s, *late], strict=True))


@contextmanager
def taskiq(directory: Path, redis: RedisServer, python: Path) -> Iterator[str]:
    """Start the worker and the API of the taskiq service. Yields its URL."""
    port = free_port()
    env = bare_environment() | {"BENCH_REDIS": f"{redis.url.rpartition('/')[0]}/2", "BENCH_PORT": str(port)}
    program = ["-m", "benchmarks.rig.naive_taskiq"]
    with (
        running(directory, "taskiq-worker", [*program, "worker"], env, str(python)),
        running(directory, "taskiq-api", [*program, "api"], env, str(python)) as api,
    ):
        url = f"http://127.0.0.1:{port}"
        api.wait_until(lambda: answers(f"{url}/readyz"), START_LIMIT_S)
        yield url


@contextmanager
def services(sizes: Sizes, report: Report) -> Iterator[list[Peer]]:
    """Start every service that can be installed. All are idle but the one that is measured."""
    with ExitStack() as stack:
        at = stack.enter_context(scene())
        found = [Peer(f"Turnwire {__version__}", TailClient(at.stack.base_urls[0], timeout_s=LIMIT_S))]
        plain = stack.enter_context(RedisServer(at.directory / "plain"))
        target = stack.enter_context(naive(at.directory, plain, max_jobs=100, database=1))
        found.append(Peer(f"arq {installed('arq')} + XREAD", TailClient(target.base_url, timeout_s=LIMIT_S)))
        if sizes.lone > 1:  # the smoke test installs nothing
            python = interpreter(PEERS_LOCK, PEERS_VENV)
            url = stack.enter_context(taskiq(at.directory, at.redis, python))
            found.append(Peer(f"taskiq {version(python, 'taskiq')} + XREAD", TailClient(url, timeout_s=LIMIT_S)))
            try:
                python = interpreter(LANGGRAPH_LOCK, "venv-langgraph")
                url = stack.enter_context(langgraph(at.directory, python))
            except (SetupError, OSError, ProcessError) as error:
                report.note(f"LangGraph is left out, it could not be installed or started: {error}")
            else:
                name = f"langgraph-api {version(python, 'langgraph-api')}, in memory"
                found.append(Peer(name, LangGraphClient(url, timeout_s=LIMIT_S), custom_events))
        yield found


def run(sizes: Sizes, report: Report) -> None:
    """Measure all rounds, taking the services in turn, and add the rows to the report."""
    rounds: dict[str, list[dict[str, float]]] = {}
    with services(sizes, report) as peers:
        for number in range(sizes.rounds):
            for peer in peers:
                print(f"round {number + 1} of {sizes.rounds}: {peer.name}", file=sys.stderr)
                rounds.setdefault(peer.name, []).append(uvloop.run(measure(peer, sizes, f"r{number}")))
    rows(report, {name: medians(figures) for name, figures in rounds.items()})
    load = f"{sizes.at_once} turns: at once {sizes.burst_events} events each, at 30 events/s {sizes.paced_events} each"
    report.note(f"{load}. 100 jobs at once each; first event: of the product. The others keep no lease or checkpoint.")


def rows(report: Report, results: dict[str, dict[str, float]]) -> None:
    """Add the rows: a column for each service, then how many times better Turnwire is."""
    report.columns = ["", *results, *(f"against {name.partition(' ')[0]}" for name in list(results)[1:])]
    for figure, more in FIGURES.items():
        values = [one[figure] for one in results.values()]
        report.row(figure, *values, *(ratio(values[0], value, higher_is_better=more) for value in values[1:]))
