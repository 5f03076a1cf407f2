"""The lists of turns, leases and workers that operators see."""

from typing import Any

import httpx
import pytest

from tests.support.operators import asked, runs
from tests.support.turns import KEY, SESSION, WORKER, request, step, submit_and_claim
from turnwire import __version__
from turnwire.shared import channels, keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.lanes import Lane
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store import turn_list


async def ask(http: httpx.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    response = await http.get(f"/v1/admin/{path}", params=query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def only(http: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    [turn] = (await ask(http, "turns", **query))["turns"]
    found: dict[str, Any] = turn
    return found


async def run_ids(http: httpx.AsyncClient, **query: Any) -> list[str]:
    return [turn["run_id"] for turn in (await ask(http, "turns", **query))["turns"]]


async def test_a_running_turn_names_its_worker_and_the_rest_of_its_lease(http, store, queue, settings):
    await runs(store, queue, SessionKey("acme", "s").turn(0), project="legal", model="fast")
    turn = await only(http)
    assert 0 < turn.pop("lease_ttl_ms") <= settings.lease_ms
    assert turn["created_at"] <= turn.pop("started_at")
    turn.pop("created_at")
    assert turn == {
        "run_id": "chat:acme~s:0", "tenant_id": "acme", "session_id": "s", "turn_index": 0, "project": "legal",
        "model": "fast", "status": "running", "attempt": 1, "ended_at": None, "worker": WORKER, "waits_for": None,
        "code": None, "cost": None,
    }  # fmt: skip


async def test_an_ended_turn_tells_its_code_and_what_it_cost(http, store, queue):
    claimed = await runs(store, queue)
    used = {"model_calls": "1", "cost_nanos": "1500", "currency": "USD"}
    fields = {**used, "error_code": "auth", "error_message": "no", "retryable": "0"}
    await store.settle(claimed, TurnState.FAILED, claimed.next_seq, [], fields)
    turn = await only(http, state="failed")
    assert (turn["code"], turn["cost"]) == ("auth", {"cost_nanos": 1500, "currency": "USD"})
    assert turn["ended_at"] >= turn["started_at"]
    assert turn["waits_for"] is turn["lease_ttl_ms"] is None


async def test_why_turns_wait(http, store, queue):
    first = await runs(store, queue)
    await asked(store, queue, SESSION.turn(1))
    batch = Lane("gpu", "batch")
    await store.submit(SessionKey("acme", "b").turn(0), request(lane=batch))
    await queue.enqueue("chat:acme~b:0", lane=batch)
    unserved, put_off, suspect = (SessionKey("default", name).turn(0) for name in ("u", "p", "s"))
    for key in (unserved, put_off, suspect):
        await asked(store, queue, key, project="tax")
    taken = {job.job_id: job for job in (await queue.take("w", 10))[0]}
    await queue.note_unserved(unserved.run_id, "tax", 5000)
    await queue.again("w", taken[put_off.run_id], 60_000)
    await queue.set_aside("w", taken[suspect.run_id], 1)
    lost = await store.submit(SessionKey("default", "lost").turn(0), request())
    waits = {turn["run_id"]: turn["waits_for"] for turn in (await ask(http, "turns"))["turns"]}
    waits |= {turn["run_id"]: turn["waits_for"] for turn in (await ask(http, "turns", session="lost"))["turns"]}
    reasons = {run_id: wait and (wait["reason"], wait["detail"]) for run_id, wait in waits.items()}
    assert reasons.pop(put_off.run_id)[0] == "retry"
    assert int(waits[put_off.run_id]["detail"]) - waits[put_off.run_id]["since"] > 50_000
    assert reasons == {
        KEY.run_id: None,
        SESSION.turn(1).run_id: ("earlier_turn", KEY.run_id),
        "chat:acme~b:0": ("worker", "gpu:batch"),
        unserved.run_id: ("unserved", "tax"),
        suspect.run_id: ("suspect", None),
        lost.key.run_id: ("worker", "it has no job; the sweep makes one"),
    }
    await store.suspend(first, "approval", None, first.next_seq, b'{"type":"session.run.suspended","data":{}}')
    assert (await only(http, state="suspended"))["waits_for"]["detail"] == "approval"


async def test_suspended_turns_are_found_whatever_else_there_is(http, store, queue, monkeypatch):
    """The list of all turns is looked through for some of them only."""
    waiting = [SessionKey("default", name).turn(0) for name in ("a", "b", "c")]
    for key in waiting:
        claimed = await runs(store, queue, key)
        await store.suspend(claimed, "go", None, claimed.next_seq, b'{"type":"session.run.suspended","data":{}}')
    for index in range(5):
        await asked(store, queue, SESSION.turn(index))
    monkeypatch.setattr(turn_list, "LOOKED_AT", 2)
    monkeypatch.setattr(turn_list, "TOGETHER", 2)
    assert (await ask(http, "queue"))["suspended"] == 3
    newest_first = [key.run_id for key in reversed(waiting)]
    page = await ask(http, "turns", state="suspended", limit=2)
    assert [turn["run_id"] for turn in page["turns"]] == newest_first[:2]
    assert await run_ids(http, state="suspended", limit=2, after=page["next"]) == newest_first[2:]
    assert await run_ids(http, state="suspended", q=waiting[0].run_id) == [], "it goes on while `next` says so"


async def test_a_running_turn_whose_lease_has_ended_waits_for_a_worker(http, store, queue, redis):
    await runs(store, queue)
    await redis.delete(KEY.lease)
    assert (await only(http))["waits_for"]["detail"] == "the lease of its worker has ended"


async def test_filters_choose_turns(http, store, queue):
    await runs(store, queue, project="legal", model="fast")
    await asked(store, queue, SessionKey("acme", "b").turn(0), project="tax")
    acme, demo = "chat:acme~b:0", KEY.run_id
    assert await run_ids(http) == [acme, demo]
    assert await run_ids(http, state="running") == [demo]
    assert await run_ids(http, state="running", worker=WORKER) == [demo]
    assert await run_ids(http, state="running", worker="w") == []
    assert await run_ids(http, worker=WORKER) == [demo]
    assert await run_ids(http, state="open") == [acme, demo]
    assert await run_ids(http, state="ended") == []
    assert await run_ids(http, tenant="acme") == await run_ids(http, project="tax") == [acme]
    assert await run_ids(http, tenant="acme", session="b") == await run_ids(http, q="e~b") == [acme]
    assert await run_ids(http, session="demo") == await run_ids(http, q="fas") == [demo]
    assert await run_ids(http, q="lega") == await run_ids(http, session="demo", q="lega") == [demo]
    assert await run_ids(http, older_than_s=60) == []


async def test_pages_go_on_where_the_last_one_ended(http, store, queue):
    turns = [await asked(store, queue, SessionKey("acme", f"s{number}").turn(0)) for number in range(5)]
    newest_first = [turn.run_id for turn in reversed(turns)]
    page = await ask(http, "turns", limit=2)
    assert [turn["run_id"] for turn in page["turns"]] == newest_first[:2]
    await asked(store, queue, KEY)  # a newer one changes nothing behind it
    page = await ask(http, "turns", limit=2, after=page["next"])
    assert [turn["run_id"] for turn in page["turns"]] == newest_first[2:4]
    page = await ask(http, "turns", limit=1, after=page["next"])
    assert ([turn["run_id"] for turn in page["turns"]], page["next"]) == (newest_first[4:], None)
    session = SessionKey("acme", "long")
    for index in range(3):
        await store.submit(session.turn(index), request())
    page = await ask(http, "turns", tenant="acme", session="long", limit=2)
    assert [turn["turn_index"] for turn in page["turns"]] == [2, 1]
    page = await ask(http, "turns", tenant="acme", session="long", limit=2, after=page["next"])
    assert ([turn["turn_index"] for turn in page["turns"]], page["next"]) == ([0], None)


async def test_one_call_looks_at_a_limited_number_of_turns(http, store, queue, monkeypatch):
    monkeypatch.setattr("turnwire.shared.store.turn_list.LOOKED_AT", 4)
    monkeypatch.setattr("turnwire.shared.store.turn_list.TOGETHER", 2)
    for number in range(6):
        await asked(store, queue, SessionKey("acme", f"s{number}").turn(0), project="tax" if number == 0 else None)
    page = await ask(http, "turns", project="tax")
    assert page["turns"] == []
    assert [turn["run_id"] for turn in (await ask(http, "turns", project="tax", after=page["next"]))["turns"]] == [
        "chat:acme~s0:0"
    ]


async def test_a_turn_that_does_not_exist_any_more_leaves_the_list(http, store, queue, redis):
    await asked(store, queue)
    await redis.delete(*KEY.all_keys(), SESSION.numbering)
    assert await run_ids(http) == []
    assert await redis.exists(keys.LISTED) == 0


@pytest.mark.parametrize(
    "query", ["state=dead", "after=1", "after=1:chat:a", "limit=501", "older_than_s=-1", "q=" + "x" * 257, "q=1&q=2"]
)
async def test_a_query_that_makes_no_sense_is_refused(http, query):
    answer = await http.get(f"/v1/admin/turns?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


async def test_the_leases_of_all_workers_come_in_pages(http, store, queue, settings):
    turns = [SessionKey("acme", f"s{number}").turn(0) for number in range(3)]
    for number, key in enumerate(turns):
        await runs(store, queue, key, f"host/{number // 2}/a")
    first = await ask(http, "leases", limit=2)
    rest = await ask(http, "leases", limit=2, after=first["next"])
    leases = first["leases"] + rest["leases"]
    assert [(lease["worker"], lease["run_id"]) for lease in leases] == [
        ("host/0/a", turns[0].run_id), ("host/0/a", turns[1].run_id), ("host/1/a", turns[2].run_id),
    ]  # fmt: skip
    assert (rest["next"], rest["lease_ms"]) == (None, settings.lease_ms)
    assert all(0 < lease["lease_ttl_ms"] <= settings.lease_ms and lease["attempt"] == 1 for lease in leases)
    assert all(lease["status"] == "running" and 0 <= rest["now"] - lease["since"] < 10_000 for lease in leases)
    assert (await http.get("/v1/admin/leases?after=x")).status_code == 400


async def test_workers_tell_what_they_run(http, store, queue, redis, settings):
    await runs(store, queue, project="legal")
    [worker] = (await ask(http, "workers"))["workers"]
    assert worker["is_alive"] is False  # no process holds a connection
    async with redis.pubsub() as held:
        await held.subscribe(channels.alive_channel(settings.deployment_name, WORKER))
        await held.get_message(timeout=5)
        view = await ask(http, "workers")
    [worker] = view["workers"]
    [turn] = worker["turns"]
    assert 0 < turn.pop("lease_ttl_ms") <= view["lease_ms"] == settings.lease_ms
    assert turn == {
        "run_id": KEY.run_id, "tenant_id": "default", "session_id": "demo", "turn_index": 0, "project": "legal",
        "attempt": 1,
    }  # fmt: skip
    assert worker | {"turns": [], "seen_at": 0} == {
        "id": WORKER, "host": "host", "pid": 1, "version": "9", "started_at": 1, "seen_at": 0, "is_alive": True,
        "is_draining": False, "slots": 4, "reserved": 1, "running": 1, "events": 7, "projects": ["legal"],
        "pools": ["default", "gpu"], "turns": [],
    }  # fmt: skip


async def test_the_queue_tells_how_long_each_line_is(http, store, queue):
    await runs(store, queue)
    for number, lane in enumerate([Lane(), Lane(), Lane("gpu", "batch")]):
        key = SessionKey("acme", f"s{number}").turn(0)
        await store.submit(key, request())
        await queue.enqueue(key.run_id, lane=lane)
    view = await ask(http, "queue")
    assert [{**line, "oldest_at": 0} for line in view["lines"]] == [
        {"pool": "default", "tenant": "acme", "priority": "interactive", "waiting": 2, "oldest_at": 0},
        {"pool": "gpu", "tenant": "acme", "priority": "batch", "waiting": 1, "oldest_at": 0},
    ]
    assert all(0 <= view["now"] - line["oldest_at"] < 10_000 for line in view["lines"])


async def test_the_story_of_a_turn(http, store, queue, settings):
    claimed = await runs(store, queue, message="tell me")
    await store.checkpoint(claimed, step(0, "1-0", "search", {"found": 3}))
    await store.signal(KEY, "approval", b'{"ok":true}')
    story = await ask(http, f"turns/{KEY.run_id}")
    assert (story["record"]["message"], story["turn"]["run_id"]) == ("tell me", KEY.run_id)
    assert (story["lease"]["worker"], story["lease"]["attempt"]) == (WORKER, 1)
    assert story["job"] == {"is_queued": False, "due_at": None, "runs": True, "worker": WORKER}
    assert [(each["name"], each["status"], each["attempt"]) for each in story["steps"]] == [("search", "completed", 1)]
    assert [(each["key"], each["timed_out"]) for each in story["signals"]] == [("approval", False)]
    assert (story["step_count"], story["signal_count"], story["attempts"], story["callback"]) == (1, 1, [], None)
    assert (story["log"]["events"], story["log"]["first"], story["log"]["last"]) == (1, "1-0", "1-0")
    assert story["log"]["bytes"] > 0
    await store.settle(claimed, TurnState.COMPLETED, 1, [], {"final_text": "x"})
    story = await ask(http, f"turns/{KEY.run_id}")
    assert (story["lease"], [row["outcome"] for row in story["attempts"]]) == (None, ["completed"])


async def test_a_turn_that_waits_has_a_job_and_no_lease(http, store, queue):
    await asked(store, queue)
    story = await ask(http, f"turns/{KEY.run_id}")
    assert story["job"] == {"is_queued": True, "due_at": None, "runs": False, "worker": None}
    assert (story["lease"], story["log"]["first"]) == (None, None)
    assert (await http.get("/v1/admin/turns/chat:missing:0")).status_code == 404
    assert (await http.get("/v1/admin/turns/missing")).status_code == 400


async def test_large_steps_are_read_a_few_at_a_time(http, store, queue, monkeypatch):
    monkeypatch.setattr("turnwire.shared.store.turn_story.TOGETHER_BYTES", 500)
    monkeypatch.setattr("turnwire.shared.store.turn_story.MOST_BYTES", 1500)
    claimed = await submit_and_claim(store)
    for position in range(12):
        await store.checkpoint(claimed, step(position, "1-0", f"step {position}"))
    story = await ask(http, f"turns/{KEY.run_id}")
    assert story["step_count"] == 12
    assert [each["position"] for each in story["steps"]] == list(range(len(story["steps"])))
    assert 3 < len(story["steps"]) < 12


async def test_the_info_names_version_features_limits_and_who_asks(http, settings):
    response = await http.get("/v1/info")
    info = response.json()
    assert (info["version"], info["tenant"], info["user"]) == (__version__, "default", None)
    assert info["scopes"] == ["admin", "metrics", "read", "tokens", "turns"]
    assert info["limits"]["max_body_bytes"] == settings.max_body_bytes
    assert info["features"]["branches"] is True
    assert info["features"]["traces"] is False
    assert info["features"]["development"] is info["features"]["jwt"] is False
