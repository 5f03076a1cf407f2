"""Runs the processes of the demo, and looks at them from outside: at leases, checkpoints and the model's bill."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from redis import Redis

from stack.cluster import ROOT, Stack, bare_environment
from stack.process import Service, answers, free_port
from stack.redis_server import RedisServer
from turnwire.shared.keys import TurnKey, session_key

START_LIMIT_S = 30.0
TURN = "/v1/sessions/demo/turns/0"
KEY: TurnKey = session_key("demo").turn(0)
SETTINGS = {"TURNWIRE_HOOKS": "stack.demo.product:hooks", "TURNWIRE_DRAIN_S": "1", "TURNWIRE_LLM_CONTINUE": "prefill"}


class Scene:
    """One API, two workers, a Redis, and a model server that counts."""

    def __init__(self, stack: Stack, redis: Redis, model_url: str, http: httpx.Client) -> None:
        self.workers = stack.worker
        self.http = http
        self.turn_url = stack.base_urls[0] + TURN
        self._redis: Any = redis  # redis-py's own annotations do not pass a strict checker
        self._model_url = model_url

    def lease(self) -> tuple[str, int]:
        """Return who has the turn, `<worker>#<attempt>`, and for how many more ms."""
        holder: bytes = self._redis.get(KEY.lease) or b""
        return holder.decode(), self._redis.pttl(KEY.lease)

    def worker_of(self, holder: str) -> Service:
        """Return the process that holds a lease, whose name is `host/pid/…`."""
        return next(worker for worker in self.workers if f"/{worker.pid}/" in holder)

    def checkpoints(self) -> dict[int, dict[str, Any]]:
        """Return the steps of the producer and of the worker that are done, by position, without those of hooks."""
        stored = self._redis.hgetall(KEY.steps)
        return {int(name): msgspec.json.decode(step) for name, step in sorted(stored.items()) if name.isdigit()}

    def ledger(self) -> list[dict[str, Any]]:
        """Return the turn's ledger, which has a row for each attempt."""
        rows: list[dict[str, Any]] = self.http.get(f"{self.turn_url}/ledger").json()["rows"]
        return rows

    def bill(self) -> list[dict[str, Any]]:
        """Return every call that the model server got."""
        calls: list[dict[str, Any]] = self.http.get(f"{self._model_url}/bill").json()
        return calls


@contextmanager
def running() -> Iterator[Scene]:
    """Start everything and yield it when it answers. It is ended and removed afterwards, whatever happened."""
    with tempfile.TemporaryDirectory(prefix="turnwire-demo-") as name, RedisServer(Path(name) / "redis") as redis:
        directory, port = Path(name), free_port()
        model_url = f"http://127.0.0.1:{port}"
        argv = [sys.executable, "-m", "stack.demo.model", str(port)]
        model = Service("model", argv, bare_environment(), directory / "model.log", cwd=ROOT)
        env = {**SETTINGS, "TURNWIRE_LLM_BASE_URL": f"{model_url}/v1"}
        stack = Stack(directory, workers=2, env=env, redis=redis)
        hurry = True  # after a failure or a Ctrl-C, do not wait for anything
        try:
            model.start()
            model.wait_until(lambda: answers(f"{model_url}/bill"), START_LIMIT_S)
            stack.start()
            with httpx.Client(timeout=20, trust_env=False) as http, Redis.from_url(redis.url) as seen:
                yield Scene(stack, seen, model_url, http)
            hurry = False
        finally:
            stack.stop(hurry=lambda: hurry)
            if model.running:
                model.kill()
