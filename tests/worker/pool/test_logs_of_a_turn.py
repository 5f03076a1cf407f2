"""An API and a worker in this process: each line names its turn and its request, and none what a client sent."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from io import StringIO
from typing import Any

import httpx
import msgspec
import pytest

from tests.support.served import listening
from tests.support.turns import SESSION
from tests.support.waiting import wait_until
from turnwire import ChatTurnHooks, TurnFailure
from turnwire.api.app import create_app
from turnwire.api.edge.protocol import Protocol
from turnwire.shared import keys
from turnwire.shared.log_context import ContextFilter
from turnwire.shared.logs import JsonScrubber
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products

Lines = Callable[[], list[dict[str, Any]]]
LOGGER = logging.getLogger("product")
PLANTED = ("planted-message", "planted-metadata", "planted-user", "planted-payload", "planted-reason", "planted-option")
ASYNC = {"prefer": "respond-async"}


class Speaking(ChatTurnHooks):
    """Logs in a task, in a thread and in the hook after the answer; then waits, fails or ends, as it is asked to."""

    async def produce(self, turn):
        LOGGER.info("produce")
        await asyncio.create_task(asyncio.to_thread(LOGGER.info, "thread"))
        if "wait" in turn.message:
            await turn.signal("approval")
        if "fail" in turn.message:
            raise TurnFailure("no", code="of_the_product")
        yield {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": turn.message}}

    def on_turn_complete(self, turn, final_text):
        LOGGER.info("complete")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What both processes have logged so far, at INFO and above."""
    stream, root = StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonScrubber("%(message)s"))
    handler.addFilter(ContextFilter())
    for name in ("httpx", "uvicorn.access"):  # the client, and what the server of this project switches off
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
async def http(redis, settings, lines) -> AsyncIterator[httpx.AsyncClient]:
    worker = TurnWorker(settings, Products({None: Speaking()}))
    main = asyncio.create_task(worker.main())
    await wait_until(lambda: redis.hexists(keys.WORKERS, worker.id), "the worker to register")
    app = create_app(msgspec.structs.replace(settings, keep_alive_s=1))
    async with (
        listening(app, Protocol, "on") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        client.headers["connection"] = "close"
        yield client
    worker.drain()
    worker.drain()
    await main
    await worker.close()


async def ended(http: httpx.AsyncClient, index: int) -> dict[str, Any]:
    answer = await http.get(f"/v1/sessions/demo/turns/{index}?wait=20")
    record: dict[str, Any] = answer.json()
    assert record["status"] in {"completed", "failed", "cancelled"}, record
    return record


async def test_the_request_id_goes_from_the_client_to_the_lines_of_the_product(http, lines):
    sent = {"x-request-id": "from-the-client:1"}
    answer = await http.post("/v1/sessions/demo/turns", json={"message": "hello"}, headers=sent | ASYNC)
    assert answer.headers["x-request-id"] == "from-the-client:1"
    assert (await ended(http, 0))["request_id"] == "from-the-client:1"
    await wait_until(lambda: any(line["message"] == "complete" for line in lines()), "the last hook")
    expected = {"run_id": "chat:demo:0", "attempt": 1, "tenant": "default", "request_id": "from-the-client:1"}
    spoken = [line for line in lines() if line["logger"] == "product"]
    assert [line["message"] for line in spoken] == ["produce", "thread", "complete"]
    for line in spoken:
        assert {name: line.get(name) for name in expected} == expected, line


async def test_each_answer_has_an_id_also_a_refusal_and_a_page(http):
    seen = set()
    for path in ("/healthz", "/docs", "/nowhere", "/v1/sessions/demo/turns/0", "/v1/sessions/%0A/turns"):
        for sent in ({}, {"x-request-id": "not well formed"}):
            answer = await http.get(path, headers=sent)
            seen.add(answer.headers["x-request-id"])
            assert " " not in answer.headers["x-request-id"]
    assert len(seen) == 10
    assert (await http.get("/nowhere", headers={"x-request-id": "mine"})).headers["x-request-id"] == "mine"


async def test_a_defect_is_logged_with_the_turn_and_the_request(http, lines, monkeypatch):
    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("turnwire.shared.model.TurnRecord.from_hash", broken)
    answer = await http.get("/v1/sessions/demo/turns/7", headers={"x-request-id": "r-7"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "r-7")
    monkeypatch.undo()
    [line] = [line for line in lines() if "RuntimeError" in line.get("exception", "")]
    assert (line["run_id"], line["tenant"], line["request_id"]) == ("chat:demo:7", "default", "r-7")


async def test_no_line_at_info_or_of_ours_holds_what_a_client_sent(http, lines, store, redis):
    def body(what: str) -> dict[str, Any]:
        return {
            "message": f"planted-message {what}", "metadata": {"planted-metadata": "planted-metadata"},
            "user": "planted-user", "options": {"temperature": 0.5},
        }  # fmt: skip

    turns = "/v1/sessions/demo/turns"
    for index, what in enumerate(("hello", "fail", "wait", "wait")):
        answer = await http.post(f"{turns}/{index}", json=body(what) | {"on_busy": "concurrent"}, headers=ASYNC)
        assert answer.status_code == 202
    for index in (2, 3):
        await wait_until(partial(suspended, store, index), "the turn to wait")
    await http.post(f"{turns}/2/signals/approval", json={"payload": "planted-payload"})
    await http.post(f"{turns}/3/cancel", json={"reason": "planted-reason"})
    assert [(await ended(http, index))["status"] for index in range(4)] == [
        "completed",
        "failed",
        "completed",
        "cancelled",
    ]
    await http.post(
        turns,
        content=b'{"message": "planted-message", "planted-option": 1}',
        headers={"content-type": "application/json"},
    )
    await http.get(f"{turns}/0?planted-option=planted-message")
    async with http.stream("POST", f"{turns}/9", json=body("hello")) as stream:
        assert "planted-message" in "".join([line async for line in stream.aiter_lines()])
    await http.delete("/v1/users/planted-user")
    said = lines()
    assert {"produce", "complete"} < {line["message"] for line in said}
    for line in said:
        assert not [word for word in PLANTED if word in json.dumps(line)], line


async def suspended(store, index: int) -> bool:
    record = await store.record(SESSION.turn(index))
    return record is not None and record.status.value == "suspended"
