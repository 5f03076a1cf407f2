"""What operators do: they put turns back, cancel them, drain and kill workers."""

import asyncio
import signal
import socket
import subprocess
import sys

import httpx
import msgspec
import pytest

from tests.support.operators import asked, runs
from tests.support.product import HOLD, Product, text
from tests.support.turns import KEY, WORKER, request
from tests.support.waiting import wait_until
from turnwire.api.app import create_app
from turnwire.shared import channels, keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.job_bytes import new_job
from turnwire.shared.store.listing import Listing
from turnwire.shared.store.queue import RUN_TURN, Taken
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products

OTHER = SessionKey("acme", "s").turn(0)
PATH = f"/v1/admin/turns/{OTHER.run_id}"


async def actions(http: httpx.AsyncClient) -> list[tuple[str, ...]]:
    entries = [each["entry"] for each in (await http.get("/v1/admin/audit")).json()["entries"]]
    names = ("of_tenant", "session_id", "worker", "project")
    return [(entry["action"], *(entry[name] for name in names if entry.get(name))) for entry in entries]


async def test_a_turn_that_was_put_off_is_due_at_once_when_it_is_requeued(http, store, queue):
    await asked(store, queue, OTHER)
    [taken], _ = await queue.take("w", 1)
    await queue.again("w", taken, 60_000)
    answer = await http.post(f"{PATH}/requeue", json={})
    assert (answer.status_code, answer.json()["run_id"]) == (202, OTHER.run_id)
    assert answer.json()["waits_for"]["reason"] == "worker"
    again = await http.post(f"{PATH}/requeue", json={})
    assert again.status_code == 202
    assert [job.job_id for job in (await queue.take("w", 5))[0]] == [OTHER.run_id]
    assert await actions(http) == [("requeue", "acme", "s")] * 2


async def test_a_turn_without_a_job_gets_one_when_it_is_requeued(http, store, queue, redis):
    await store.submit(OTHER, request())
    assert (await http.post(f"{PATH}/requeue", json={})).status_code == 202
    assert [job.job_id for job in (await queue.take("w", 5))[0]] == [OTHER.run_id]


async def test_a_turn_that_waits_in_its_line_keeps_its_place(http, store, queue):
    first = await asked(store, queue, SessionKey("acme", "first").turn(0))
    await asked(store, queue, OTHER)
    assert (await http.post(f"{PATH}/requeue", json={})).status_code == 202
    assert [job.job_id for job in (await queue.take("w", 1))[0]] == [first.run_id]


async def test_a_turn_that_runs_or_has_ended_is_not_requeued(http, store, queue):
    claimed = await runs(store, queue, OTHER)
    running = await http.post(f"{PATH}/requeue", json={})
    assert (running.status_code, running.json()["code"]) == (409, "lease_held")
    await store.settle(claimed, TurnState.COMPLETED, 1, [], {"final_text": "x"})
    ended = await http.post(f"{PATH}/requeue", json={})
    assert (ended.status_code, ended.json()["code"]) == (409, "turn_ended")
    assert (await http.post("/v1/admin/turns/chat:missing:0/requeue", json={})).status_code == 404
    assert await actions(http) == []


async def test_an_operator_cancels_a_turn_of_any_tenant(http, store, queue):
    await asked(store, queue, OTHER)
    answer = await http.post(f"{PATH}/cancel", json={"reason": "stuck"})
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    assert answer.json()["error"]["message"] == "the turn was cancelled: stuck"
    assert (await http.post(f"{PATH}/cancel", json={})).status_code == 200
    assert (await http.post("/v1/admin/turns/chat:missing:0/cancel", json={})).status_code == 404
    assert await actions(http) == [("cancel", "acme", "s")] * 2


async def test_a_worker_that_is_drained_finishes_its_turns_and_ends(http, store, queue, settings):
    product = Product(HOLD, text("hello"))
    worker = TurnWorker(msgspec.structs.replace(settings, drain_s=30), Products({None: product}))
    main = asyncio.create_task(worker.main())
    await asked(store, queue, KEY)

    async def row():
        found = (await http.get("/v1/admin/workers")).json()["workers"]
        return found[0] if found and found[0]["turns"] else None

    assert (await wait_until(row, "the turn runs"))["is_draining"] is False
    assert (await http.post(f"/v1/admin/workers/{worker.id.replace('/', '%2F')}/drain", json={})).status_code == 202
    assert (await row())["is_draining"] is True
    await wait_until(worker.is_draining, "the worker drains", settings.lease_ms / 1000 / 3 / 2)  # it is told at once
    await asked(store, queue, OTHER)
    product.gate.set()
    await main
    await worker.close()
    assert (await store.existing(KEY)).status == "completed"
    assert (await store.existing(OTHER)).status == "queued"
    assert not worker.has_to_be_replaced
    assert await actions(http) == [("drain", worker.id)]


async def test_a_worker_learns_with_its_next_heartbeat_that_it_should_drain(http, queue, redis):
    assert await queue.extend(WORKER, b"{}", []) is False
    await redis.set(keys.DRAIN_PREFIX + WORKER, 1, px=60_000)
    assert await queue.extend(WORKER, b"{}", []) is True
    assert await queue.extend("host/2/b", b"{}", [KEY.run_id]) is False
    assert await Listing(queue).asked_to_drain([WORKER, "host/2/b"]) == {WORKER}


async def test_an_unknown_worker_is_neither_drained_nor_killed(http):
    for deed in ("drain", "kill"):
        answer = await http.post(f"/v1/admin/workers/host%2F1%2Fa/{deed}", json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert await actions(http) == []


@pytest.mark.parametrize("development", [True, False])
async def test_only_in_development_a_worker_may_be_killed(store, queue, redis, settings, development):
    app = create_app(msgspec.structs.replace(settings, development=development))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    try:
        worker = f"host/{process.pid}/a"
        now_ms = await Listing(queue).now_ms()
        entry = {
            "host": socket.gethostname(), "pid": process.pid, "version": "1", "started_at": 1, "heartbeat": 1,
            "at": now_ms, "running": 0, "capacity": 1, "server": "",
        }  # fmt: skip
        await queue.extend(worker, msgspec.json.encode(entry), [])
        async with (
            redis.pubsub() as held,
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http,
        ):
            path = f"/v1/admin/workers/{worker.replace('/', '%2F')}/kill"
            assert (await http.post(path, json={})).status_code == 404  # no connection stands for it
            await held.subscribe(channels.alive_channel(settings.deployment_name, worker))
            await held.get_message(timeout=5)
            answer = await http.post(path, json={})
        await app.state.services.redis.aclose(close_connection_pool=True)
        assert answer.status_code == (202 if development else 404)
        if development:
            assert await process.wait() == -signal.SIGKILL
        assert (process.returncode is None) is not development
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_usage_of_all_tenants_comes_in_pages(http, store, queue):
    for number in range(3):
        key = SessionKey(f"t{number}", "s").turn(0)
        claimed = await runs(store, queue, key)
        settled = await store.settle(claimed, TurnState.COMPLETED, 1, [], {"final_text": "x"}, b'{"partial":"false"}')
        await queue.end(WORKER, Taken(key.run_id, new_job(RUN_TURN, key.run_id)), {1: settled.row})
    page = (await http.get("/v1/admin/usage?limit=2")).json()
    assert [(each["tenant_id"], each["rows"]) for each in page["tenants"]] == [("t0", 1), ("t1", 1)]
    rest = (await http.get(f"/v1/admin/usage?limit=2&after={page['next']}")).json()
    assert ([each["tenant_id"] for each in rest["tenants"]], rest["next"]) == (["t2"], None)
    one = (await http.get("/v1/admin/usage?tenant=t1")).json()
    assert [(each["tenant_id"], each["rows"]) for each in one["tenants"]] == [("t1", 1)]
    assert (await http.get("/v1/admin/usage?tenant=none")).json()["tenants"][0]["rows"] == 0
