"""examples/sandbox.py, in this process: whatever crashes, one sandbox is started, and none is left."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from examples.sandbox import SandboxHooks
from turnwire.testing import crash_at_each_write, run_turn

LINES = ["reading", "writing", "done"]


class Sandboxes:
    """The service: `started` counts by key how many sandboxes it has started, `running` holds those that are there."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.running: dict[str, str] = {}
        self.attached = 0
        routes = [
            Route("/sandboxes", self._start, methods=["POST"]),
            Route("/sandboxes", self._remove, methods=["DELETE"]),
            Route("/sandboxes/{id}/output", self._output),
        ]
        transport = httpx.ASGITransport(Starlette(routes=routes))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://sandboxes")

    async def _start(self, request: Request) -> Response:
        key = request.headers["idempotency-key"]
        if key not in self.running:
            self.started[key] += 1
            self.running[key] = f"box-{len(self.started)}"
        return JSONResponse({"id": self.running[key]})

    async def _output(self, request: Request) -> Response:
        assert request.path_params["id"] in self.running.values()
        self.attached += 1

        async def lines() -> AsyncIterator[str]:
            for line in LINES:
                yield f"{line}\n"

        return StreamingResponse(lines())

    async def _remove(self, request: Request) -> Response:
        self.running.pop(request.headers["idempotency-key"], None)
        return Response(status_code=204)


async def test_a_sandbox_is_started_once_and_attached_to_again():
    sandboxes = Sandboxes()
    modes: list[Any] = ["after", "before"]
    report = await crash_at_each_write(lambda: SandboxHooks(sandboxes.client), "tidy up", modes=modes)
    assert report.problems == []
    assert report.undisturbed.final_text == "reading\nwriting\ndone\n"
    undisturbed = 1 + len(modes)  # of each mode, the last run finds no further write
    assert sandboxes.started.total() == undisturbed + len(report.runs)
    assert sandboxes.attached > len(report.runs)
    assert sandboxes.running == {}


async def test_a_turn_that_is_cancelled_leaves_no_sandbox():
    sandboxes = Sandboxes()
    run = await run_turn(SandboxHooks(sandboxes.client), "tidy up", cancel_after=3)
    assert run.error is not None
    assert run.error.code == "cancelled"
    assert sandboxes.started
    assert sandboxes.running == {}
