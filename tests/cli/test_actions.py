"""What operators do with `turnwire`: requeue and cancel turns, drain a worker, pause and resume."""

from tests.cli.asking import Turnwire, worker_of
from tests.support.product import HOLD, Scripted, text
from tests.support.turns import KEY, request
from tests.support.waiting import wait_until


async def test_a_turn_whose_job_is_lost_is_put_back(turnwire: Turnwire, store, queue):
    await store.submit(KEY, request())
    assert (await turnwire.json("queue"))["jobs"] == 0
    assert "chat:demo:0 is in the queue: queued" in (await turnwire("requeue", "demo")).stderr
    assert (await turnwire.json("queue"))["jobs"] == 1
    assert (await turnwire.json("requeue", "chat:demo:0"))["status"] == "queued"
    await turnwire("cancel", "demo")
    assert "turnwire: " in (await turnwire("requeue", "demo", code=1)).stderr


async def test_a_worker_drains(turnwire: Turnwire, settings):
    hooks = Scripted(text("one "), HOLD, text("two"))
    async with worker_of(settings, hooks) as worker:
        await turnwire("send", "demo", "hi", "--detach")
        await hooks.holding.wait()
        assert f"{worker.id} drains" in (await turnwire("drain", worker.id)).stderr

        async def is_draining() -> bool:
            [entry] = await turnwire.json("workers")
            return bool(entry["is_draining"])

        await wait_until(is_draining, "the worker to drain")
        hooks.gate.set()
        await turnwire("tail", "demo")
    await turnwire("drain", "host/1/nobody", code=1)


async def test_usage_of_every_tenant(turnwire: Turnwire, settings):
    async with worker_of(settings, Scripted(text("hello"))):
        await turnwire("send", "demo", "hi")
    assert [sums["tenant_id"] for sums in await turnwire.json("usage", "--all")] == ["default"]
    assert (await turnwire("usage", "--tenant", "default")).stdout.splitlines()[1].startswith("default\t1\t")
