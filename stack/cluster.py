"""Starts Redis, N APIs and N workers as real processes, for `dev.py run`, the tests and the benchmarks."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from stack.process import Service, answers, free_port, stop_all
from stack.redis_server import RedisServer

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 30.0
API_STOP_LIMIT_S = 20.0
WORKER_STOP_MARGIN_S = 10.0  # beyond TURNWIRE_DRAIN_S
DEFAULT_DRAIN_S = 30.0


class Stack:
    """A context manager. `api` and `worker` are lists of `Service`, each to be killed, paused or restarted alone."""

    def __init__(
        self,
        directory: Path,
        *,
        workers: int = 1,
        apis: int = 1,
        env: Mapping[str, str] | None = None,
        redis: RedisServer | None = None,
    ) -> None:
        """Describe the stack. Nothing is started yet.

        Args:
            directory: for the logs, and for Redis when it is the stack's own.
            workers: how many `python -m worker`.
            apis: how many `python -m api`, on free ports; the first takes TURNWIRE_PORT if `env` has it.
            env: settings for the children. Settings of the calling process are not inherited.
            redis: a running server, which the stack does not stop. Default: TURNWIRE_REDIS_URL of `env`, else
                a server of the stack's own, whose data are lost at its end.
        """
        settings = dict(env or {})
        self._own_redis = redis is None and "TURNWIRE_REDIS_URL" not in settings
        self.redis = RedisServer(directory / "redis") if self._own_redis else redis
        self._directory = directory
        self._settings = settings
        self._drain_s = float(settings.get("TURNWIRE_DRAIN_S") or DEFAULT_DRAIN_S)
        ports = [free_port() for _ in range(apis)]
        if ports and settings.get("TURNWIRE_PORT"):
            ports[0] = int(settings["TURNWIRE_PORT"])
        self.base_urls = [f"http://{loopback(settings.get('TURNWIRE_HOST'))}:{port}" for port in ports]
        self.api = [self._service("api", number, {"TURNWIRE_PORT": str(p)}) for number, p in enumerate(ports)]
        self.worker = [self._service("worker", number, {}) for number in range(workers)]

    @property
    def services(self) -> list[Service]:
        """The APIs and workers, in the order in which they are stopped."""
        return self.api + self.worker

    def start(self, *, tick: Callable[[], None] = lambda: None) -> Self:
        """Start everything. Returns when every API answers /readyz and every worker says that it is ready.

        `tick` is called again and again meanwhile; an exception that it raises ends the wait. On any failure everything
        is stopped.

        Raises:
            ProcessError, TimeoutError: with the last log lines of the child in question.
        """
        try:
            if self.redis and self._own_redis:
                self.redis.start()
            for service in self.services:
                self._start(service)
            for number in range(len(self.api)):
                self.wait_api(number, tick=tick)
            for number in range(len(self.worker)):
                self.wait_worker(number, tick=tick)
        except BaseException:
            self.stop(hurry=lambda: True)
            raise
        return self

    def wait_api(self, number: int, *, tick: Callable[[], None] = lambda: None) -> None:
        """Wait until `api[number]` answers /readyz with 200, for START_LIMIT_S at most."""
        url = f"{self.base_urls[number]}/readyz"
        self.api[number].wait_until(lambda: answers(url), START_LIMIT_S, tick=tick)

    def wait_worker(self, number: int, *, tick: Callable[[], None] = lambda: None) -> None:
        """Wait until the latest start of `worker[number]` has said "worker ready", for START_LIMIT_S at most."""
        service = self.worker[number]
        service.wait_until(lambda: "worker ready" in service.log(since_start=True), START_LIMIT_S, tick=tick)

    def add_worker(self, env: Mapping[str, str] | None = None) -> Service:
        """Start one more worker, with `env` in addition to the stack's, and wait until it is ready."""
        service = self._service("worker", len(self.worker), dict(env or {}))
        self.worker.append(service)
        self._start(service)
        self.wait_worker(len(self.worker) - 1)
        return service

    def stop(self, *, hurry: Callable[[], bool] = lambda: False) -> list[str]:
        """End the APIs, then the workers, then the stack's own Redis. Kill each that does not end within its limit.

        `hurry` is called again and again meanwhile; once it returns true, the rest is killed. Returns the names of the
        services that were killed.
        """
        killed = stop_all(self.api, API_STOP_LIMIT_S, hurry=hurry)
        killed += stop_all(self.worker, self._drain_s + WORKER_STOP_MARGIN_S, hurry=hurry)
        if self.redis and self._own_redis:
            self.redis.stop()
        return [service.name for service in killed]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _service(self, module: str, number: int, env: dict[str, str]) -> Service:
        name = f"{module}{number}"
        argv = [sys.executable, "-m", module]
        return Service(
            name,
            argv,
            {**bare_environment(), **self._settings, **env},
            self._directory / f"{name}.log",
            cwd=ROOT,
        )

    def _start(self, service: Service) -> None:
        if self.redis:  # the server's address is known only once it runs
            service.env["TURNWIRE_REDIS_URL"] = self.redis.url
        service.start()


def bare_environment() -> dict[str, str]:
    """Return the caller's environment without the variables that would configure the children unnoticed."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TURNWIRE_") and name not in {"PORT", "PYTHONSAFEPATH"}
    } | {"PYTHONUNBUFFERED": "1"}


def loopback(host: str | None) -> str:
    """Return the address under which this machine reaches a server that is bound to `host`."""
    if host in {None, "", "0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in str(host) else str(host)
