"""What one worker has found out about a model is kept for all workers, until it is old or turns out to be wrong."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.model_server import running_model_server
from tests.support.turns import request
from tests.worker.backends.asking import QUESTION, QUICK
from tests.worker.backends.chunks import FINISH
from tests.worker.backends.rawserver import HEAD, RESET, reply, sse, text
from turnwire.backends import OpenAIBackend, OpenAIHooks
from turnwire.shared.keys import FOUND_PREFIX, session_key
from turnwire.shared.store import findings as store_findings
from turnwire.shared.store.findings import Findings
from turnwire.testing import ManualClock
from turnwire.testing.memory_findings import MemoryFindings
from turnwire.worker.attempt.outcome import Done
from turnwire.worker.backends.generation import Origin
from turnwire.worker.backends.probing import BELIEVED_S, KEPT_OFF_S, KEPT_S, Modes
from turnwire.worker.backends.quirks import Quirks

GOES_ON = HEAD + sse(text(" four"), text(" five"), FINISH, "[DONE]")
ANSWER = HEAD + sse(text("Yes."), FINISH, "[DONE]")
NO_SUCH_PATH = reply(404, b"{}")
BEGINNING = HEAD + sse(text("The contract is "), text("valid only if it wa"))
STARTS_OVER = HEAD + sse(text("The contract is valid only if she signs."), FINISH, "[DONE]")


class Worker:
    """A process that asks a model. `now_s` is its clock."""

    def __init__(self, url: str, findings: Findings | None) -> None:
        self.backend = OpenAIBackend(url, None, "tiny", QUICK, quirks=Quirks(continues="auto"))
        self.findings = findings
        self.now_s = 1000.0
        self.backend._modes = Modes(str(self.backend._transport.url), lambda: self.now_s)

    async def ask(self, **call: Any) -> str:
        origin = Origin("k", findings=self.findings, **call)
        events = self.backend.stream(QUESTION, idempotency_key="k", on_call=lambda _: None, origin=origin)
        shown = ""
        async for event in events:
            shown = event["data"]["part"].get("text", shown + event["data"].get("delta", ""))
        return shown

    @property
    def found(self) -> str | None:
        return self.backend._modes.known.get("tiny")


class Hangs:
    """A connection to a Redis that does not answer."""

    def send(self, *_: Any) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().create_future()


@pytest.fixture
async def workers(raw, store) -> AsyncIterator[tuple[Worker, Worker]]:
    pair = Worker(raw.url, store.findings), Worker(raw.url, Findings(store.redis, store.settings))
    yield pair
    for worker in pair:
        await worker.backend.aclose()


async def kept(redis: Any) -> dict[str, int]:
    """Return what is kept, and for how long."""
    return {(await redis.get(key)).decode(): await redis.ttl(key) for key in await redis.keys(f"{FOUND_PREFIX}*")}


async def test_only_one_worker_tries(raw, workers, redis):
    for step in (NO_SUCH_PATH, GOES_ON, ANSWER):
        raw.play(step)
    for worker in workers:
        assert await worker.ask() == "Yes."
        assert worker.found == "prefill"
    assert len(raw.requests) == 2 + 2, "two trials, and an answer for each worker"
    ((mode, ttl_s),) = (await kept(redis)).items()
    assert mode == "prefill"
    assert KEPT_S - 60 < ttl_s <= KEPT_S


async def test_a_word_that_this_version_does_not_know_is_not_believed(raw, workers, redis):
    for step in (reply(204), ANSWER):
        raw.play(step)
    await workers[0].ask()
    (key,) = await redis.keys(f"{FOUND_PREFIX}*")
    for word in ("telepathy", "auto", b"\xff"):
        await redis.set(key, word, ex=60)
        workers[1].now_s += BELIEVED_S
        for step in (reply(204), ANSWER):
            raw.play(step)
        before = len(raw.requests)
        await workers[1].ask()
        assert len(raw.requests) == before + 2, word
        assert workers[1].found == "llama-stream"


async def test_a_model_that_has_started_over_is_no_longer_asked_by_anybody(raw, workers, redis):
    for script in ([NO_SUCH_PATH], [GOES_ON], [BEGINNING, RESET], [STARTS_OVER], [ANSWER]):
        raw.play(*script)
    assert await workers[0].ask() == "The contract is valid only if she signs."
    assert workers[0].found == "off"
    ((mode, ttl_s),) = (await kept(redis)).items()
    assert mode == "off"
    assert ttl_s <= KEPT_OFF_S
    await workers[1].ask()
    assert workers[1].found == "off"
    assert len(raw.requests) == 5, "nobody tries again"

    await redis.delete(*await redis.keys(f"{FOUND_PREFIX}*"))  # as if the hour was over
    workers[0].now_s += BELIEVED_S
    raw.requests.clear()
    raw._answers.clear()
    for script in ([NO_SUCH_PATH], [GOES_ON], [BEGINNING, RESET], [HEAD + sse(text(" was"), FINISH, "[DONE]")]):
        raw.play(*script)
    assert await workers[0].ask() == "The contract is valid only if it was", "it can go on again"


async def test_a_server_that_has_lost_an_answer_is_tried_again(raw, workers, redis):
    for script in ([reply(204)], [ANSWER], [NO_SUCH_PATH], [ANSWER]):
        raw.play(*script)
    await workers[0].ask()
    assert await workers[0].ask(resumes=True) == "Yes."  # it is to be read again, and is not there
    assert await kept(redis) == {}
    raw.requests.clear()
    raw._answers.clear()
    for step in (NO_SUCH_PATH, GOES_ON, ANSWER):
        raw.play(step)
    await workers[0].ask()
    assert workers[0].found == "prefill", "another server answers under this address"
    workers[1].now_s += BELIEVED_S
    await workers[1].ask()
    assert workers[1].found == "prefill"


async def test_a_redis_that_hangs_delays_a_turn_by_a_moment_only(raw, workers, caplog, monkeypatch):
    monkeypatch.setattr(store_findings, "ASK_S", 0.05)
    monkeypatch.setattr(workers[0].findings, "_courier", Hangs())
    for step in (reply(204), ANSWER):
        raw.play(step)
    assert await workers[0].ask() == "Yes."
    assert workers[0].found == "llama-stream"
    workers[0].now_s += BELIEVED_S
    assert await workers[0].ask() == "Yes."
    assert len(raw.requests) == 3, "it keeps what it knows"
    assert "neither read nor kept" in caplog.text


async def test_without_other_workers_a_process_knows_for_itself(raw):
    worker = Worker(raw.url, None)
    for step in (reply(204), ANSWER, ANSWER, ANSWER, reply(204), ANSWER):
        raw.play(step)
    for later_s in (0, BELIEVED_S, KEPT_S - BELIEVED_S - 1):
        worker.now_s += later_s
        await worker.ask()
    assert len(raw.requests) == 1 + 3
    worker.now_s += 1
    await worker.ask()
    assert len(raw.requests) == 2 + 4
    await worker.backend.aclose()


async def test_the_turns_of_two_workers_try_once(store, runner_of, redis):
    async with running_model_server() as server:
        for number in range(2):
            backend = OpenAIBackend(server.url, None, "m", QUICK, quirks=Quirks(continues="auto"))
            key = session_key("demo").turn(number)
            await store.submit(key, request(f"a{number} 3 1000"))
            assert isinstance(await runner_of(OpenAIHooks(backend)).run(key.run_id), Done)
            await backend.aclose()
        assert [bill["asked"] for bill in server.bills] == ["a0 3 1000", "a1 3 1000"]
        assert server.trials == 1
    assert list(await kept(redis)) == ["llama-stream"]


@pytest.mark.parametrize("is_in_memory", [True, False])
async def test_the_store_in_memory_keeps_findings_as_redis_does(store, is_in_memory):
    clock = ManualClock()
    findings = MemoryFindings(clock) if is_in_memory else store.findings
    assert await findings.read("a") == ""
    await findings.keep("a", "prefill", 60)
    await findings.keep("b", "off", 60)
    await findings.keep("a", "flags", 60)
    assert [await findings.read(name) for name in ("a", "b", "c")] == ["flags", "off", ""]
    await findings.forget("a")
    await findings.forget("c")
    assert [await findings.read(name) for name in "ab"] == ["", "off"]
    if is_in_memory:
        clock.advance(60)
    else:
        await store.redis.expire(f"{FOUND_PREFIX}b", 0)
    assert await findings.read("b") == ""
