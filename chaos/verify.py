"""Reconciles turns from outside: what clients read, what Redis holds, and which calls the product got.

The tests use it, too. Each check returns sentences, one per violation; an empty list means that everything holds.
"""

import asyncio
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from chaos.client import TERMINAL_TYPES, Answer, Client, Line
from chaos.faults import COMPLETED, allowed_ends, late_hooks
from turnwire.shared.keys import TurnKey

STEPS = {  # the step's intent -> the hook that is not called again once this step is done
    "turn": "produce",
    "transform_final_text": "transform_final_text",
    "persist_assistant_message": "persist_assistant_message",
    "on_turn_complete": "on_turn_complete",
}
ProductCall = dict[str, Any]
LOOK_S = 0.1
SKIPPED_ATTEMPTS = 1000  # how many numbers the first attempt after a failover skips
PERSIST_LIMIT_S = 60.0  # for an answer whose first try to persist it hung


def cursor(text: str) -> tuple[int, int]:
    """Return the two numbers of a cursor `<attempt>-<seq>`."""
    attempt, seq = text.split("-")
    return int(attempt), int(seq)


def effective(lines: Iterable[Line]) -> list[Line]:
    """Return the lines that a client keeps. It drops the lines after the `after` of a resumed event.

    It begins anew at a second `session.run.started` whose attempt is far ahead, because Redis has lost the turn's
    events.
    """
    kept: list[Line] = []
    for line in lines:
        if kept and line["type"] == "session.run.started":
            lost = cursor(line["id"])[0] - cursor(kept[-1]["id"])[0] >= SKIPPED_ATTEMPTS
            kept = [] if lost else kept
        if line["type"] == "session.run.resumed":
            while kept and cursor(kept[-1]["id"]) > cursor(line["data"]["after"]):
                kept.pop()
        kept.append(line)
    return kept


def check_same(lines: Sequence[Line], fresh: Sequence[Line]) -> list[str]:
    """Check that what a client keeps of its lines is what a fresh reader sees."""
    kept, found = ([f"{line['id']} {line['type']}" for line in one] for one in (effective(lines), fresh))
    if kept == found:
        return []
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(kept, found, strict=False)))
    ends = f"after {same} equal lines the client has {kept[same:]}, the fresh reader {found[same:]}"
    return [f"the client and a fresh reader see different logs: {ends}"]


def text_of(lines: Iterable[Line]) -> str:
    """Return the text that a reader of the deltas sees."""
    return "".join(line["data"]["delta"] for line in lines if line["type"] == "message.part.updated")


def read_ledger(path: Path, only: str = "") -> dict[str, list[ProductCall]]:
    """Return the product's calls by run id, in order. Lines without the text `only` are left out, which saves time."""
    calls: dict[str, list[ProductCall]] = defaultdict(list)
    if path.exists():
        for line in path.read_text().splitlines():
            if only not in line:
                continue
            call = json.loads(line)
            calls[call["run_id"]].append(call)
    return calls


def check_lines(
    lines: Sequence[Line],
    *,
    status: str = "completed",
    events: int = 10,
    text: str | None = None,
    name: str = "",
    suffix: str = "",
) -> list[str]:
    """Check a client's lines: ids ascend, no id comes twice, seqs have no gap, and there is one terminal event.

    `text` is the text that the lines must have. None: that of one whole attempt of `events` deltas, in the deployment
    `name`, followed by the suffix.
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
    if sum(line["type"] in TERMINAL_TYPES for line in lines) != 1:
        found.append(f"not exactly one terminal event: {[line['type'] for line in lines]}")
    if status == "completed":
        found += _check_text(kept, events, text, name, suffix)
    return found


def _check_text(kept: Sequence[Line], events: int, expected: str | None, name: str, suffix: str) -> list[str]:
    text = text_of(kept)
    if expected is None:
        attempt = text.partition(".")[0].removeprefix(name)
        if not attempt.isdecimal():
            return [f"the text {text!r} is not one of the deployment {name!r}"]
        expected = answer_text(name + attempt, events) + suffix
    if text != expected:
        return [f"the text is {text!r}, not {expected!r}"]
    results = [line["data"].get("finalText") for line in kept if line["type"] == "result"]
    return [] if results == [text] else [f"results {results}, the text is {text!r}"]


def answer_text(attempt: int | str, events: int) -> str:
    """Return the text with which the product answers in this attempt."""
    return "".join(f"{attempt}.{number} " for number in range(events))


def check_calls(
    calls: Sequence[ProductCall],
    steps: dict[str, Any],
    *,
    status: str = "completed",
    hooks: Mapping[str, str] = STEPS,
    late: Collection[str] = (),
) -> list[str]:
    """Check the product's calls: no checkpointed step runs again, the message id stays the same, persist comes first.

    `steps` are the step records by intent; a step's cursor tells which attempt completed it. `hooks`: see STEPS.
    `late`: hooks of which a call hung; how often they are called is not counted.
    """
    found = check_persisted_first(calls)
    for intent, hook in hooks.items():
        if hook in late:
            continue
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


def check_persisted_first(calls: Sequence[ProductCall]) -> list[str]:
    """Check that on_turn_complete is called only after the answer was persisted."""
    names = [call["call"] for call in calls]
    if "on_turn_complete" not in names:
        return []
    before = names[: names.index("on_turn_complete")]
    return [] if "persisted" in before else [f"on_turn_complete was called before the answer was persisted: {names}"]


async def check_turn(
    client: Client, redis: Redis, answer: Answer, calls: Sequence[ProductCall], *, text: str | None = None
) -> list[str]:
    """Check a turn that has ended: the end is allowed; client, fresh reader, record and calls agree with it."""
    record = await client.record(answer)
    end = record["status"], record["error"]["code"] if record["error"] else None
    if end not in allowed_ends(answer.metadata):
        return [f"{answer.run_id}: it ended as {end}, its metadata is {answer.metadata}"]
    if end == COMPLETED:
        found = await check_completed(client, redis, answer, calls, text=text)
    else:
        found = await check_unanswered(client, answer, calls)
    return [f"{answer.run_id}: {flaw}" for flaw in found]


async def check_completed(
    client: Client, redis: Redis, answer: Answer, calls: Sequence[ProductCall], *, text: str | None = None
) -> list[str]:
    """Check a completed turn: its client, a fresh reader, its record, its steps and its calls."""
    check = partial(
        check_lines,
        events=answer.metadata.get("events", 10),
        text=text,
        name=answer.deployment,
        suffix=answer.metadata.get("payload", ""),
    )
    fresh = await client.read(answer)
    found = [f"a fresh reader: {flaw}" for flaw in check(fresh)]
    if answer.replayed:
        found += check_replay(answer.lines, text_of(fresh))
    else:
        found += [f"the client: {flaw}" for flaw in check(answer.lines)]
        found += check_same(answer.lines, fresh)
    return found + await check_outcome(client, redis, answer, calls, text=text_of(fresh))


async def check_unanswered(client: Client, answer: Answer, calls: Sequence[ProductCall]) -> list[str]:
    """Check a turn that failed or was cancelled: all readers saw that, and no answer was persisted."""
    fresh = await client.read(answer)
    found = [f"a fresh reader: {flaw}" for flaw in check_lines(fresh, status="failed")]
    found += [f"the client: {flaw}" for flaw in check_lines(answer.lines, status="failed")]
    found += check_same(answer.lines, fresh)
    late = [call["call"] for call in calls if call["call"] in {"persist_assistant_message", "on_turn_complete"}]
    return found + ([f"it has no answer, but {late} were called"] if late else [])


def check_replay(lines: Sequence[Line], text: str) -> list[str]:
    """Check that a client that came after the end got the answer alone, without the events before it."""
    if [line["type"] for line in lines] != ["session.run.started", "result", "session.run.completed"]:
        return [f"not a replay: {[line['type'] for line in lines]}"]
    replayed = lines[1]["data"]["finalText"]
    return [] if replayed == text else [f"replayed {replayed!r}, the text is {text!r}"]


async def check_outcome(
    client: Client, redis: Redis, answer: Answer, calls: Sequence[ProductCall], *, text: str
) -> list[str]:  # fmt: skip
    """Check that the record is completed and persisted with this text, and that the product got no needless call."""
    found = []
    late = late_hooks(answer.metadata)
    record = await persisted_record(client, answer, PERSIST_LIMIT_S if late else 0)
    if (record["status"], record["persist"], record["final_text"]) != ("completed", "done", text):
        found.append(f"the record is {record}, the text {text!r}")
    persisted = {call["text"] for call in calls if call["call"] == "persist_assistant_message"}
    if persisted != {text}:
        found.append(f"persisted: {persisted}, the text is {text!r}")
    stream = {"answer": "answer"} if answer.metadata.get("stream") else {}
    return found + check_calls(calls, await steps_of(redis, answer.run_id), hooks=STEPS | stream, late=late)


async def persisted_record(client: Client, answer: Answer, limit_s: float) -> dict[str, Any]:
    """Return the turn's record once the outbox has persisted the answer, or as it is after `limit_s`."""
    deadline_s = time.monotonic() + limit_s
    while True:
        record = await client.record(answer)
        if record["persist"] != "pending" or time.monotonic() > deadline_s:
            return record
        await asyncio.sleep(LOOK_S)


async def steps_of(redis: Redis, run_id: str) -> dict[str, Any]:
    """Return the step records of a turn by intent."""
    stored = await redis.hgetall(TurnKey.parse(run_id).steps)  # type: ignore[misc]
    records = [json.loads(value) for position, value in stored.items() if position != b"history"]
    return {record["intent"]: record for record in records}


def check_order(records: Iterable[dict[str, Any]], asked_again: Collection[str] = ()) -> list[str]:
    """Check that in each session, by Redis' clock, no turn started before its predecessor had ended.

    `asked_again`: run ids of turns that had failed and may have been asked again after later turns had started.
    """
    found = []
    by_place = {(record["session_id"], record["turn_index"]): record for record in records}
    for (session, index), record in by_place.items():
        before = by_place.get((session, index - 1))
        if not before or before["run_id"] in asked_again or record["started_at"] is None:
            continue
        if before["completed_at"] is None or record["started_at"] < before["completed_at"]:
            found.append(f"{record['run_id']} started before {before['run_id']} had ended")
    return found
