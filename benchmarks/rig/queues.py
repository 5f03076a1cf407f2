"""Starts a worker of each job queue that is compared, fills the queue, and waits until the jobs have run."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.rig.services import LOAD_HOOKS, START_LIMIT_S, running, workspace
from benchmarks.rig.systems.stamps import read_stamps
from benchmarks.rig.venvs import PEERS_LOCK, PEERS_VENV
from stack.cluster import bare_environment
from stack.process import Service
from stack.redis_server import RedisServer
from stack.venvs import interpreter

DRIVE_LIMIT_S = 120.0


@dataclass(frozen=True)
class Queue:
    """One system in one configuration."""

    name: str
    system: str
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return self.system == "turnwire"

    @property
    def python(self) -> str:
        """Return the interpreter that has the library of this system."""
        return sys.executable if self.system in {"turnwire", "arq"} else str(interpreter(PEERS_LOCK, PEERS_VENV))

    def program(self, role: str) -> list[str]:
        if self.ours and role == "worker":
            return ["-m", "worker"]
        return ["-m", f"benchmarks.rig.systems.on_{self.system}", role]


TURNWIRE = Queue("Turnwire", "turnwire", {"TURNWIRE_MAX_JOBS": "100"})
ARQ = Queue("arq, poll 0.5 s (default)", "arq", {"BENCH_POLL": "0.5", "BENCH_MAX_JOBS": "100"})
ARQ_BUSY = Queue("arq, poll 0.01 s", "arq", {"BENCH_POLL": "0.01", "BENCH_MAX_JOBS": "100"})
STREAQ = Queue("streaq", "streaq", {"BENCH_MAX_JOBS": "100"})
TASKIQ = Queue("taskiq, stream broker", "taskiq", {"BENCH_MAX_JOBS": "100"})
SAQ = Queue("saq", "saq", {"BENCH_MAX_JOBS": "100"})


class Pool:
    """The idle workers of one queue on an empty Redis. They have run some jobs already."""

    def __init__(self, queue: Queue, redis: RedisServer, directory: Path, workers: Sequence[Service]) -> None:
        self.queue = queue
        self.redis = redis
        self.workers = workers
        self._directory = directory
        self._drives = 0

    @property
    def starts(self) -> dict[str, int]:
        """Return when the first line of each job ran, by job."""
        return read_stamps(self._directory / "starts")

    def drive(self, jobs: int, rate: float = 0) -> dict[str, int]:
        """Enqueue jobs from a process of its own. Returns job -> when its enqueue call began."""
        self._drives += 1
        sent = self._directory / f"sent{self._drives}"
        env = _environment(self.queue, self.redis, self._directory) | {
            "BENCH_JOBS": str(jobs), "BENCH_RATE": str(rate), "BENCH_SENT": str(sent),
            "BENCH_NAME": f"{self._drives}",
        }  # fmt: skip
        program = self.queue.program("drive")
        with running(self._directory, f"drive{self._drives}", program, env, self.queue.python) as driver:
            code = driver.wait(DRIVE_LIMIT_S + jobs / rate if rate else DRIVE_LIMIT_S)
            assert code == 0, f"{self.queue.name}: the driver failed:\n{driver.last_lines()}"
        return read_stamps(sent)

    def wait(self, jobs: dict[str, int], limit_s: float) -> dict[str, int]:
        """Wait until all of these jobs have run. Returns their starts."""
        deadline = time.monotonic() + limit_s
        while not jobs.keys() <= (starts := self.starts).keys():
            dead = [worker.last_lines() for worker in self.workers if not worker.running]
            assert not dead, f"{self.queue.name}: a worker ended:\n{dead[0]}"
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.queue.name}: {len(jobs.keys() - starts.keys())} jobs did not run")
            time.sleep(0.02)
        return {job: starts[job] for job in jobs}


@contextmanager
def idle_pool(queue: Queue, workers: int) -> Iterator[Pool]:
    """Start workers on a Redis of their own, and run a few jobs, so that nothing is measured that happens only once."""
    with ExitStack() as stack:
        directory = stack.enter_context(workspace())
        redis = stack.enter_context(RedisServer(directory / "redis", port=0))
        env = _environment(queue, redis, directory)
        services = [
            stack.enter_context(running(directory, f"worker{number}", queue.program("worker"), env, queue.python))
            for number in range(workers)
        ]
        ready = Pool(queue, redis, directory, services)
        for _ in range(3):
            ready.wait(ready.drive(10 * workers), START_LIMIT_S)
        time.sleep(1.0)
        yield ready


def _environment(queue: Queue, redis: RedisServer, directory: Path) -> dict[str, str]:
    bench = {"BENCH_REDIS": redis.url, "BENCH_STARTS": str(directory / "starts")}
    ours = {"TURNWIRE_REDIS_URL": redis.url, **LOAD_HOOKS} if queue.ours else {}
    return bare_environment() | bench | ours | queue.settings
