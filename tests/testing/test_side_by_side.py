"""The same products through run_turn and on a real Redis: the same log, text, steps, ledger and calls."""

from typing import Any

import msgspec
import pytest

from tests.testing.products import Fails, Hears, Hides, Shop, code_of
from tests.testing.redis_stage import KEY, RedisStage
from turnwire import ModelCall, Turn
from turnwire.shared.model import StepRecord
from turnwire.testing import TIMES_OUT, TurnRun, run_turn
from turnwire.testing.observed import PersistCall
from turnwire.testing.reading import event_of

TIMELESS_ROW = {
    "turn_created_at": 0, "started_at": 0, "ended_at": 0, "wall_ms": 0, "first_event_ms": None, "first_token_ms": None,
}  # fmt: skip
RECORD_TIMES = {"created_at": 0, "started_at": 0, "updated_at": 0, "completed_at": 0}
CHECKPOINTS = [
    {},
    {"crash_after": "claim"},
    {"crash_before": "checkpoint.turn"},
    {"crash_after": "checkpoint.turn"},
    {"crash_before": "suspend"},
    {"crash_after": "settle"},
    {"crash_before": "end"},
    {"lose_reply": "settle"},
    {"lose_reply": "checkpoint.turn"},
]
# While an event is appended, the producer goes on, and how far depends on how soon the store answers. The shop waits.
APPENDS = [
    {"crash_before": "append"},
    {"crash_after": "append"},
    {"lose_reply": "append"},
    {"crash_before": 3},
    {"crash_after": 5},
    {"lose_reply": 4},
]


@pytest.fixture(autouse=True)
def no_pause_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnwire.worker.attempt.finish.RETRY_S", 0.0)


@pytest.fixture
def chaos_ledger(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names the file for the calls of chaos/product.py, which reads the name when it is imported."""
    monkeypatch.setenv("CHAOS_LEDGER", str(tmp_path / "ledger"))


@pytest.fixture
def stepping(chaos_ledger) -> Any:
    from tests.support.stepping import SteppingHooks

    return SteppingHooks


def steps_of(records: dict[int | str, StepRecord]) -> list[Any]:
    return [
        (step.index, step.intent, step.kind, step.status, msgspec.json.decode(step.result), step.attempts, step.error)
        for _, step in sorted(records.items())
        if not step.intent.startswith("signal:")  # its result has the time at which the signal came
    ]


def numbered(calls: list[PersistCall]) -> list[PersistCall]:
    """The calls with a number for each message id: the ids of two turns are never the same."""
    ids = list(dict.fromkeys(call.message_id for call in calls))
    return [msgspec.structs.replace(call, message_id=str(ids.index(call.message_id))) for call in calls]


async def on_redis(redis, settings, make, message, signals, fault, **fields: Any) -> dict[str, Any]:
    stage = RedisStage(redis, settings)
    hooks = make()
    times_out = TIMES_OUT in signals.values()
    await stage.run(hooks, message, {} if times_out else signals, fault, **fields)
    if times_out:
        await stage.time_out(hooks)
    record = await stage.store.record(KEY)
    assert record is not None
    return {
        "record": msgspec.structs.replace(record, **RECORD_TIMES),
        "events": [event_of(entry) for entry in await stage.store.read_all(KEY)],
        "steps": steps_of(await stage.store.steps(KEY)),
        "rows": [msgspec.structs.replace(row, **TIMELESS_ROW) for row in await stage.store.ledger(KEY)],
        "persist_calls": numbered(stage.seen.persist_calls),
        "step_runs": stage.seen.step_runs,
        "model_calls": stage.seen.model_calls,
        "writes": stage.faults.reached,
    }


async def in_memory(run: TurnRun) -> dict[str, Any]:
    return {
        "record": msgspec.structs.replace(run.record, **RECORD_TIMES),
        "events": run.events,
        "steps": [
            (step.position, step.intent, step.kind, step.status, step.result, step.attempts, step.error)
            for step in run.steps
            if not step.intent.startswith("signal:")
        ],
        "rows": [msgspec.structs.replace(row, **TIMELESS_ROW) for row in run.rows],
        "persist_calls": numbered(run.persist_calls),
        "step_runs": run.step_runs,
        "model_calls": run.model_calls,
        "writes": run.writes,
    }


async def check(redis, settings, make, message, signals, fault, **fields: Any) -> TurnRun:
    """Run it both ways: the same came of it. Only the number of appends may differ, for Redis answers later."""
    run = await run_turn(make(), message, signals=signals, settings=settings, **fields, **fault)
    expected, found = await on_redis(redis, settings, make, message, signals, fault, **fields), await in_memory(run)
    for name in expected:
        if name != "writes":
            assert found[name] == expected[name], name
    assert without_appends(found["writes"]) == without_appends(expected["writes"])
    assert run.log_flaws == []
    return run


def without_appends(writes: list[str]) -> list[str]:
    return [write for write in writes if write != "append"]


@pytest.mark.parametrize("fault", [*CHECKPOINTS, *APPENDS], ids=str)
async def test_a_product_with_steps_a_stream_and_a_signal(redis, settings, fault):
    run = await check(redis, settings, Shop, "socks", {"approval": "yes"}, fault, user="ada", model="m")
    assert run.final_text == "found yes it is"


@pytest.mark.parametrize("fault", CHECKPOINTS, ids=str)
async def test_the_product_of_the_crash_tests(redis, settings, stepping, fault):
    run = await check(redis, settings, stepping, "hello", {"go": "yes"}, fault, metadata={"signal": "go"})
    assert (run.final_text or "").startswith("begin ")
    assert (run.final_text or "").endswith("yes end")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [{}, {"crash_before": "checkpoint.turn"}, {"crash_after": "settle"}], ids=str)
async def test_the_product_of_chaos(redis, settings, chaos_ledger, fault, stream):
    from chaos.product import ChaosHooks

    run = await check(redis, settings, ChaosHooks, "hello", {}, fault, metadata={"events": 3, "stream": stream})
    assert len((run.final_text or "").split()) == 3


@pytest.mark.parametrize("fault", [{}, {"crash_before": "checkpoint.last"}], ids=str)
async def test_a_producer_that_takes_another_way_is_rewound(redis, settings, stepping, fault):
    orders = {"signal": "go", "differs": True}
    run = await check(redis, settings, stepping, "hello", {"go": "yes"}, fault, metadata=orders)
    assert "diverged" in [row.outcome for row in run.rows]


async def test_a_signal_that_times_out(redis, settings):
    run = await check(redis, settings, Shop, "socks", {"approval": TIMES_OUT}, {})
    assert code_of(run) == "signal_timeout"


@pytest.mark.parametrize("fails", [1, 4])
async def test_an_answer_that_is_persisted_late(redis, settings, fails):
    run = await check(redis, settings, lambda: Fails(fails), "hello", {}, {})
    assert run.persist == "done"


async def test_a_turn_that_is_given_up(redis, settings):
    run = await check(redis, settings, Fails, "hello", {}, {"crash_after": ["claim", "append", "append"]})
    assert code_of(run) == "attempts_exhausted"


@pytest.mark.parametrize(
    "fault",
    [{}, {"crash_after": "settle"}, {"lose_reply": "settle"}, {"crash_before": "keep_step.on_turn_failed"}],
    ids=str,
)
async def test_a_turn_that_fails_and_is_told_of(redis, settings, fault):
    run = await check(redis, settings, Hears, "fail", {}, fault)
    assert run.record.partial_text == "one two"
    assert run.step("on_turn_failed").status == "completed"


@pytest.mark.parametrize("message", ["plain", "stream", "fail"])
@pytest.mark.parametrize("fault", [{}, {"crash_after": "settle"}], ids=str)
async def test_a_product_that_redacts(redis, settings, fault, message):
    run = await check(redis, settings, Hides, message, {}, fault)
    assert "####" in run.streamed_text


async def test_a_turn_with_parts_options_and_a_parent(redis, settings):
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "https://a/b.png"}}]
    run = await check(redis, settings, Hears, parts, {}, {}, options={"temperature": 0.5}, parent=-1)
    assert (run.record.message, run.record.parent, run.status) == (parts, -1, "completed")


class Model:
    """Takes the place of the backend of examples/agent.py. It calls both tools, then answers."""

    async def ask(self, turn: Turn, messages: list[Any], *, name: str, tools: Any):
        turn.usage.add(ModelCall("m", tokens_in=len(messages), tokens_out=1))
        if name == "model-1":
            for number, tool in enumerate(("look_up", "refund")):
                call = {"id": f"call-{number}", "name": tool, "arguments": '{"order":"7"}'}
                yield {"type": "tool.call", "data": call}
        else:
            text = {"part": {"type": "text"}, "delta": f"Refunded, after {len(messages)} messages."}
            yield {"type": "message.part.updated", "data": text}


WITHOUT_HOOKS = [fault for fault in CHECKPOINTS if "checkpoint.turn" not in fault.values()]  # its end is stored with it


@pytest.mark.parametrize("fault", [*WITHOUT_HOOKS, {"crash_before": "checkpoint.refund"}], ids=str)
async def test_the_agent_of_the_examples(redis, settings, fault, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TURNWIRE_LLM_BASE_URL", "http://nowhere.invalid/v1")
    from examples import agent

    monkeypatch.setattr(agent, "backend", Model())
    run = await check(redis, settings, agent.Agent, "7 is broken", {"approval-1": {"ok": True}}, fault)
    assert run.final_text == "Refunded, after 4 messages."
    assert run.step("refund").result == {"order": "7", "refunded_eur": 40, "receipt": "refund/call-1"}
