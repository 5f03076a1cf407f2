"""Starts what the benchmarks measure, and stops all of it whatever happens."""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stack.cluster import ROOT, Stack, bare_environment
from stack.process import Service, answers, free_port, stop_all
from stack.redis_server import RedisServer

START_LIMIT_S = 30.0
STOP_LIMIT_S = 10.0
LOAD_HOOKS = {"TURNWIRE_HOOKS": "benchmarks.rig.product:hooks"}
SHORT_DRAIN = {"TURNWIRE_DRAIN_S": "1"}  # so that Ctrl-C ends a benchmark soon


class Target:
    """One service under load: where it listens and which processes do its work."""

    def __init__(self, name: str, base_url: str, api_pid: int, worker_pid: int) -> None:
        self.name = name
        self.base_url = base_url
        self.api_pid = api_pid
        self.worker_pid = worker_pid


@contextmanager
def workspace() -> Iterator[Path]:
    """A directory for logs and sockets, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="turnwire-bench-") as directory:
        yield Path(directory)


@contextmanager
def redis_server(directory: Path) -> Iterator[RedisServer]:
    """Run one Redis server for all services that are compared."""
    with RedisServer(directory / "redis") as server:
        yield server


@contextmanager
def turnwire(
    directory: Path, redis: RedisServer, *, workers: int = 1, env: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """Run Turnwire's API and workers with the load product."""
    with Stack(
        directory / "turnwire", workers=workers, env={**LOAD_HOOKS, **SHORT_DRAIN, **(env or {})}, redis=redis
    ) as stack:
        yield stack


@contextmanager
def naive(directory: Path, redis: RedisServer, *, max_jobs: int, database: int) -> Iterator[Target]:
    """Run the naive arq worker and its API, on a database of their own."""
    port = free_port()
    env = bare_environment() | {
        "BENCH_REDIS_SOCKET": redis.url.removeprefix("unix://"),
        "BENCH_REDIS_DB": str(database),
        "BENCH_MAX_JOBS": str(max_jobs),
        "BENCH_PORT": str(port),
    }
    name = f"naive{max_jobs}"
    program = ["-m", "benchmarks.rig.naive_arq"]
    with (
        running(directory, f"{name}-worker", [*program, "worker"], env) as worker,
        running(directory, f"{name}-api", [*program, "api"], env) as api,
    ):
        api.wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), START_LIMIT_S)
        worker.wait_until(lambda: "worker ready" in worker.log(), START_LIMIT_S)
        yield Target(f"arq, max_jobs {max_jobs}", f"http://127.0.0.1:{port}", api.pid, worker.pid)


@contextmanager
def running(directory: Path, name: str, args: list[str], env: dict[str, str], python: str = "") -> Iterator[Service]:
    """Run a Python program from this checkout, and stop it at the end."""
    service = Service(name, [python or sys.executable, *args], env, directory / f"{name}.log", cwd=ROOT)
    service.start()
    try:
        yield service
    finally:
        stop_all([service], STOP_LIMIT_S)
