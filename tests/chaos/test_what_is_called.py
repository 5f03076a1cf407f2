"""The verification of chaos finds each kind of violation in the product's calls, in the order, and in Redis."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from chaos import verify
from chaos.client import Answer
from chaos.keeper import Keeper
from chaos.leftovers import check_leftovers
from chaos.monkey import ON_REQUEST, STRIKES, Monkey, ordinary, possible
from chaos.reconcile import check_identities, check_indexes
from stack.process import Service
from tests.support.turns import KEY, submit_and_claim
from tests.support.waiting import wait_until
from turnwire.shared import keys

STEPS = {intent: {"cursor": "1-5"} for intent in verify.STEPS}


def calls(*names: str, attempt: int = 1) -> list[dict[str, Any]]:
    listed = []
    for name in names:
        call: dict[str, Any] = {"call": name, "attempt": attempt}
        listed.append(call | ({"message_id": "m1"} if name.startswith("persist") else {}))
    return listed


EACH_ONCE = ("produce", "transform_final_text", "persist_assistant_message", "persisted", "on_turn_complete")


def test_a_turn_whose_hooks_are_called_once_has_no_flaw():
    assert verify.check_calls(calls(*EACH_ONCE), STEPS) == []


PLANTED = [
    ("twice in one attempt", calls(*EACH_ONCE, "produce"), STEPS, "produce was called twice"),
    ("after its checkpoint", calls(*EACH_ONCE) + calls("produce", attempt=2), STEPS, "but attempt 1 had completed it"),
    ("without a checkpoint", calls(*EACH_ONCE), {"turn": STEPS["turn"]}, "completed without the step"),
    ("complete before persisted", calls("produce", "on_turn_complete"), STEPS, "before the answer was persisted"),
    ("two message ids", [*calls(*EACH_ONCE), {"call": "x", "message_id": "m2"}], STEPS, "more than one message id"),
]


@pytest.mark.parametrize(("listed", "steps", "words"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED])
def test_a_call_too_many_is_found(listed, steps, words):
    assert words in " | ".join(verify.check_calls(listed, steps))


def test_a_hook_that_hung_may_be_called_again_but_not_under_another_id():
    again = [*calls(*EACH_ONCE), *calls("persist_assistant_message", "persisted")]
    late = {"persist_assistant_message"}
    assert verify.check_calls(again, STEPS, late=late) == []
    assert verify.check_calls([*again, {"call": "persisted", "message_id": "m2"}], STEPS, late=late)


def test_a_message_id_of_two_turns_is_found():
    assert check_identities({"chat:a:0": calls("persisted"), "chat:a:1": []}) == []
    assert check_identities({"chat:a:0": calls("persisted"), "chat:a:1": calls("persisted")})


def test_an_index_that_was_given_twice_is_found():
    assert check_indexes([Answer("a", 0, {}), Answer("a", 1, {})]) == []
    assert check_indexes([Answer("a", 0, {}), Answer("a", 0, {})])


def test_a_turn_that_started_too_early_is_found():
    first = {"session_id": "a", "turn_index": 0, "run_id": "chat:a:0", "started_at": 1, "completed_at": 5}
    second = {"session_id": "a", "turn_index": 1, "run_id": "chat:a:1", "started_at": 4, "completed_at": 9}
    assert verify.check_order([first, second])
    assert verify.check_order([first, second | {"started_at": 5}]) == []
    assert verify.check_order([first, second], asked_again={"chat:a:0"}) == []


async def test_a_lease_a_job_and_a_turn_that_are_left_are_found(redis, store, queue):
    assert await check_leftovers(redis) == []
    await submit_and_claim(store)
    await queue.enqueue(KEY.run_id)
    found = " | ".join(await check_leftovers(redis))
    for name in ("lease:*", f"{keys.JOB_PREFIX}*", keys.QUEUE, keys.OPEN_TURNS, "open:*"):
        assert f"{name} holds" in found
    await redis.flushdb()


async def test_a_key_that_would_stay_for_ever_is_found(redis):
    await redis.set("strange", "1")
    assert "does not own it" in " ".join(await check_leftovers(redis))
    await redis.flushdb()


async def test_an_attempt_that_is_not_billed_once_is_found(redis):
    record = {"created_at": 1, "attempt": 1, "status": "completed", "run_id": KEY.run_id}
    row = {"run_id": KEY.run_id, "turn_created_at": 1, "attempt": 1, "outcome": "completed"}
    await redis.hset(KEY.record, mapping=record)
    await redis.hset(KEY.ledger, "1", json.dumps(row))
    for name in (KEY.record, KEY.ledger):
        await redis.expire(name, 60)
    unbilled = await check_leftovers(redis)
    await redis.xadd(keys.LEDGER, {"row": json.dumps(row)})
    once = await check_leftovers(redis)
    await redis.xadd(keys.LEDGER, {"row": json.dumps(row)})
    twice = await check_leftovers(redis)
    assert (len(unbilled), len(once), len(twice)) == (1, 0, 1)
    assert len(await check_leftovers(redis, queue_was_lost=True)) == 1
    assert len(await check_leftovers(redis, fails_over=True)) == 1
    await redis.delete(keys.LEDGER)
    assert len(await check_leftovers(redis, fails_over=True)) == 1
    await redis.xadd(keys.LEDGER, {"row": json.dumps(row)})
    await redis.xadd(keys.LEDGER, {"row": json.dumps(row | {"attempt": 2})})  # the turn's own row of it was lost
    assert await check_leftovers(redis, fails_over=True) == []
    await redis.delete(keys.LEDGER)
    assert await check_leftovers(redis, queue_was_lost=True) == []
    await redis.flushdb()


@pytest.mark.parametrize("told", [False, True])
async def test_a_process_that_ends_by_itself_is_a_finding_unless_its_turn_was_told_to_end_it(tmp_path, told):
    ledger = tmp_path / "ledger"
    service = Service("worker0", [sys.executable, "-c", "import os; os.abort()"], {}, tmp_path / "worker0.log").start()
    await wait_until(lambda: not service.running, "the end of the process")
    if told:
        ledger.write_text(json.dumps({"run_id": "chat:a:0", "attempt": 1, "pid": service.pid, "call": "die"}) + "\n")
    keeper = Keeper([service], [ledger])
    keeper.look_at(service)
    assert (len(keeper.findings), keeper.ended["killed by its turn"]) == ((0, 1) if told else (1, 0))


def test_every_strike_is_described_and_belongs_to_a_topology():
    assert all((getattr(Monkey, name).__doc__ or "").endswith(".") for name in STRIKES)
    assert set(possible("single")) | set(possible("sentinel")) == set(STRIKES)
    assert set(possible("single")) - set(ordinary("single")) == ON_REQUEST


def test_the_ledger_of_the_product_can_be_read_in_part(tmp_path: Path):
    ledger = tmp_path / "ledger"
    ledger.write_text('{"run_id": "chat:a:0", "call": "x"}\n{"run_id": "chat:b:0", "call": "y"}\n')
    assert set(verify.read_ledger(ledger)) == {"chat:a:0", "chat:b:0"}
    assert set(verify.read_ledger(ledger, "chat:b")) == {"chat:b:0"}
