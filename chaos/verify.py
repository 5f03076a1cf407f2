"""Reconciles turns from outside: what clients read, what Redis holds, what the product was asked.

Shared with the tests. Each check returns sentences, one per violation; an empty list means that everything holds.
"""

import asyncio
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from chaos.client import TERMINAL, Answer, Client, Line
from tests.support.keyleak import find_leaks
from turnwire.shared import keys
from turnwire.shared.keys import TurnKey

STEPS = {  # the step's intent -> the hook that it keeps from being called again
    "turn": "produce",
    "transform_final_text": "transform_final_text",
    "persist_assistant_message": "persist_assistant_message",
    "on_turn_complete": "on_turn_complete",
}
Call = dict[str, Any]
LOOK_S = 0.1


def cursor(text: str) -> tuple[int, int]:
    """`<attempt>-<seq>` as numbers."""
    attempt, seq = text.split("-")
    return int(attempt), int(seq)


def effective(lines: Iterable[Line]) -> list[Line]:
    """What a client keeps: it drops what it got after the `after` of a resumed event."""
    kept: list[Line] = []
    for line in lines:
        if line["type"] == "session.run.resumed":
            while kept and cursor(kept[-1]["id"]) > cursor(line["data"]["after"]):
                kept.pop()
        kept.append(line)
    return kept


def text_of(lines: Iterable[Line]) -> str:
    """What a reader of the deltas sees."""
    return "".join(line["data"]["delta"] for line in lines if line["type"] == "message.part.updated")


def read_ledger(path: Path) -> dict[str, list[Call]]:
    """The product's calls by run id, in order."""
    calls: dict[str, list[Call]] = defaultdict(list)
    if path.exists():
        for line in path.read_text().splitlines():
            call = json.loads(line)
            calls[call["run_id"]].append(call)
    return calls


def check_lines(
    lines: Sequence[Line], *, status: str = "completed", events: int = 10, text: str | None = None
) -> list[str]:  # fmt: skip
    """A client's lines: each id once and ascending, seq dense, one terminal event.

    And this text; None: that of one whole attempt of `events` deltas.
    """
    found = []
    ids = [cursor(line["id"]) for line in lines]
    if any(one >= other for one, other in itertools.pairwise(ids)):
        found.append(f"ids do not ascend: {ids}")
    kept = effective(lines)
    seqs = [cursor(line["id"])[1] for line in kept]
    if seqs != list(range(len(seqs))):
        found.append(f"seq is not dense: {seqs}")
    types = [line["type"] for line in kept]
    terminal = "session.run.completed" if status == "completed" else "session.run.failed"
    if types[:1] != ["session.run.started"] or types[-1:] != [terminal]:
        found.append(f"not from started to {terminal}: {types}")
    if sum(line["type"] in TERMINAL for line in lines) != 1:
        found.append(f"not exactly one terminal event: {[line['type'] for line in lines]}")
    if status == "completed":
        found += _check_text(kept, events, text)
    return found


def _check_text(kept: Sequence[Line], events: int, expected: str | None) -> list[str]:
    text = text_of(kept)
    if expected is None:
        expected = answer_text(text.partition(".")[0], events)
    if text != expected:
        return [f"the text is {text!r}, not {expected!r}"]
    results = [line["data"].get("finalText") for line in kept if line["type"] == "result"]
    return [] if results == [text] else [f"results {results}, the text is {text!r}"]


def answer_text(attempt: int | str, events: int) -> str:
    """What the product answers in this attempt."""
    return "".join(f"{attempt}.{number} " for number in range(events))


def check_calls(
    calls: Sequence[Call], steps: dict[str, Any], *, status: str = "completed", hooks: Mapping[str, str] = STEPS
) -> list[str]:
    """The product's calls: none of a step whose checkpoint stands, the same message id always.

    `steps` are the step records by intent; a step's cursor tells which attempt completed it. `hooks`: see STEPS.
    """
    found = []
    for intent, hook in hooks.items():
        attempts = [call["attempt"] for call in calls if call["call"] == hook]
        if len(attempts) != len(set(attempts)):
            found.append(f"{hook} was called twice in one attempt: {attempts}")
        if intent not in steps:
            if status == "completed":
                found.append(f"completed without the step {intent}")
            continue
        if not steps[intent]["cursor"]:  # the outbox has completed it, after the last attempt
            continue
        done_in = cursor(steps[intent]["cursor"])[0]
        if any(attempt > done_in for attempt in attempts):
            found.append(f"{hook} was called in {attempts}, but attempt {done_in} had completed it")
    if len({call["message_id"] for call in calls if "message_id" in call}) > 1:
        found.append("persisted under more than one message id")
    return found


async def check_turn(
    client: Client, redis: Redis, answer: Answer, calls: Sequence[Call], *, text: str | None = None
) -> list[str]:
    """One turn that should have completed: its client, a fresh reader, its record, its steps, its calls."""
    if "raise" in answer.metadata:
        return await check_failed(client, answer)
    events = answer.metadata.get("events", 10)
    fresh = await client.read(answer)
    found = [f"a fresh reader: {flaw}" for flaw in check_lines(fresh, events=events, text=text)]
    if answer.replayed:
        found += check_replay(answer.lines, text_of(fresh))
    else:
        found += [f"the client: {flaw}" for flaw in check_lines(answer.lines, events=events, text=text)]
        if [line["id"] for line in fresh] != [line["id"] for line in effective(answer.lines)]:
            found.append("the client and a fresh reader see different logs")
    found += await check_outcome(client, redis, answer, calls, text=text_of(fresh))
    return [f"{answer.run_id}: {flaw}" for flaw in found]


async def check_failed(client: Client, answer: Answer) -> list[str]:
    """One turn whose product raised: it failed with the product's code, in the eyes of everybody."""
    fresh = await client.read(answer)
    found = [f"a fresh reader: {flaw}" for flaw in check_lines(fresh, status="failed")]
    if not answer.replayed:
        found += [f"the client: {flaw}" for flaw in check_lines(answer.lines, status="failed")]
    record = await client.record(answer)
    code = record["error"]["code"] if record["error"] else None
    if (record["status"], code) != ("failed", "producer_error"):
        found.append(f"the record is {record}, not failed with producer_error")
    return [f"{answer.run_id}: {flaw}" for flaw in found]


def check_replay(lines: Sequence[Line], text: str) -> list[str]:
    """A client that came when all was over got the answer without its history."""
    if [line["type"] for line in lines] != ["session.run.started", "result", "session.run.completed"]:
        return [f"not a replay: {[line['type'] for line in lines]}"]
    replayed = lines[1]["data"]["finalText"]
    return [] if replayed == text else [f"replayed {replayed!r}, the text is {text!r}"]


async def check_outcome(
    client: Client, redis: Redis, answer: Answer, calls: Sequence[Call], *, text: str
) -> list[str]:  # fmt: skip
    """The record says completed and persisted with this text, the product was asked only what was needed."""
    found = []
    record = await client.record(answer)
    if (record["status"], record["persist"], record["final_text"]) != ("completed", "done", text):
        found.append(f"the record is {record}, the text {text!r}")
    persisted = {call["text"] for call in calls if call["call"] == "persist_assistant_message"}
    if persisted != {text}:
        found.append(f"persisted: {persisted}, the text is {text!r}")
    stream = {"answer": "answer"} if answer.metadata.get("stream") else {}
    return found + check_calls(calls, await steps_of(redis, answer.run_id), hooks=STEPS | stream)


async def steps_of(redis: Redis, run_id: str) -> dict[str, Any]:
    """The step records of a turn by intent."""
    stored = await redis.hgetall(TurnKey.parse(run_id).steps)  # type: ignore[misc]
    records = [json.loads(value) for position, value in stored.items() if position != b"history"]
    return {record["intent"]: record for record in records}


async def check_leftovers(redis: Redis) -> list[str]:
    """When every turn has ended: no job, no claim, no lease, nothing open, every key of a turn with an end."""
    left = {name: await redis.zrange(name, 0, -1, withscores=True) for name in (keys.QUEUE, keys.OPEN_TURNS)}
    for pattern in ("lease:*", f"{keys.IN_PROGRESS_PREFIX}*", f"{keys.JOB_PREFIX}*", "open:*"):
        left[pattern] = await redis.keys(pattern)
    found = [f"{name} holds {content}" for name, content in left.items() if content]
    return found + await find_leaks(redis) + await check_ledger(redis)


async def check_ledger(redis: Redis) -> list[str]:
    """Every attempt of every ended turn has one row, and that is on the stream once, in order."""
    published: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for _, fields in await redis.xrange(keys.LEDGER):
        row = json.loads(fields[1])
        published[row["run_id"], row["turn_created_at"]].append(row)
    found = []
    for name in await redis.keys("turn:*"):
        fields = ["created_at", "attempt", "status", "run_id"]
        created_at, attempt, status, run_id = await redis.hmget(name, fields)  # type: ignore[misc]
        if status not in {b"completed", b"failed", b"cancelled"}:
            continue
        kept = await redis.hgetall(TurnKey.parse(run_id.decode()).ledger)  # type: ignore[misc]
        attempts = list(range(1, int(attempt) + 1))
        rows = published[run_id.decode(), int(created_at)]
        if sorted(map(int, kept)) != attempts or [row["attempt"] for row in rows] != attempts:
            on_stream = [(row["attempt"], row["outcome"]) for row in rows]
            found.append(f"{run_id.decode()}: {len(attempts)} attempts, rows of {sorted(kept)}, published {on_stream}")
        elif rows[-1]["outcome"] != status.decode():
            found.append(f"{run_id.decode()}: it is {status.decode()}, its last row says {rows[-1]['outcome']}")
    return found


async def leftovers(redis: Redis, limit_s: float) -> list[str]:
    """`check_leftovers`, once it finds nothing, or what it still finds after `limit_s`."""
    deadline_s = time.monotonic() + limit_s
    while True:
        found = await check_leftovers(redis)
        if not found or time.monotonic() > deadline_s:
            return found
        await asyncio.sleep(LOOK_S)


def check_order(records: Iterable[dict[str, Any]]) -> list[str]:
    """In each session no turn started before the one before it had ended, by Redis' clock."""
    found = []
    by_place = {(record["session_id"], record["turn_index"]): record for record in records}
    for (session, index), record in by_place.items():
        before = by_place.get((session, index - 1))
        if before and record["started_at"] < before["completed_at"]:
            found.append(f"{record['run_id']} started before {before['run_id']} had ended")
    return found
