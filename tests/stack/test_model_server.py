"""The offline model server goes on with answers in each of the ways that backends know, and in no other."""

import asyncio
from typing import Any

import pytest

from tests.support.model_server import running_model_server
from tests.worker.backends.asking import QUICK, collect, wait_until
from turnwire.backends import OpenAIBackend, OpenAIHooks
from turnwire.testing import run_turn
from turnwire.worker.backends.continuation import in_mode
from turnwire.worker.backends.quirks import Quirks

ASKED = [{"role": "user", "content": "a 20 1000"}]


@pytest.mark.parametrize("mode", ["prefill", "flags", "prefix"])
async def test_it_goes_on_below_the_path_of_a_way_only_in_this_way(mode):
    async with running_model_server() as server:
        made: dict[str, int] = {}
        for asked in ("prefill", "flags", "prefix"):
            url = server.url if mode == "prefill" else server.url.replace("/v1", f"/{mode}/v1")
            backend = OpenAIBackend(url, None, "m", QUICK)
            request = in_mode({"messages": ASKED}, "a.0 a.1 a.2", asked)
            options = {name: value for name, value in request.items() if name != "messages"}
            answer = backend.stream(request["messages"], options=options, idempotency_key="k", on_call=lambda _: None)
            await collect(answer, [])
            made[asked] = server.bills[-1]["tokens_out"]
            await backend.aclose()
        assert made["prefill"] == (17 if mode == "prefill" else 20)
        assert made[mode] == 17
        assert mode == "prefill" or sorted(made.values()) == [17, 20, 20]


async def test_a_response_in_the_background_outlives_its_reader_and_can_be_stopped():
    async with running_model_server() as server:
        backend = OpenAIBackend(server.url, None, "m", QUICK, quirks=Quirks(continues="responses"))
        run = await run_turn(lambda: OpenAIHooks(backend), "a 20 1000", crash_after="append")
        assert run.final_text == " ".join(f"a.{number}" for number in range(20))
        assert (run.attempts, server.paid, len(server.bills)) == (2, 20, 1)
        assert [(row.outcome, row.tokens_out) for row in run.rows] == [("crashed", None), ("completed", 20)]

        events: list[dict[str, Any]] = []
        many = [{"role": "user", "content": "b 20000 200"}]
        answer = backend.stream(many, idempotency_key="k", on_call=lambda _: None)
        asking = asyncio.create_task(collect(answer, events))
        await wait_until(lambda: len(events) > 5)
        asking.cancel()
        await asyncio.wait({asking})
        await wait_until(lambda: server.idle)
        assert server.paid < 20_000
        await backend.aclose()
