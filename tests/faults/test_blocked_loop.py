"""A product's code blocks the event loop of its worker for longer than a lease. No turn loses its worker by that."""

import asyncio

from tests.support.scene import scene
from tests.support.waiting import wait_until

BLOCK_S = 2.5  # the lease is 1 s


async def test_code_that_blocks_the_loop_costs_nobody_a_lease(tmp_path):
    async with scene(tmp_path, workers=2) as view:
        blocking = view.turn(events=5, block_s=BLOCK_S)
        others = [view.turn(events=20, pace_ms=20) for _ in range(20)]
        readers = [view.ask(answer) for answer in (*others, blocking)]
        await asyncio.gather(*readers)
        await view.check(blocking, *others)
        for answer in (blocking, *others):
            assert view.count(answer)["produce"] == 1
            assert "session.run.resumed" not in answer.types
        logs = "".join(service.log() for service in view.stack.worker)
        assert "the event loop has been blocked for" in logs
        assert f"work {blocking.run_id}" in logs
        assert "chaos/product.py" in logs  # the stack of the code that blocks
        await wait_until(
            lambda: "the event loop runs again" in "".join(service.log() for service in view.stack.worker),
            "the log says that the loop runs again",
        )
