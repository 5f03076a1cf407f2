"""The rules that several writes of the memory store share.

Each function does what its namesake in shared/store/lua/parts does.
"""

import json
from collections.abc import Mapping, Sequence

from turnwire.shared.errors import AttemptFenced
from turnwire.shared.events import OWN_EVENT_PREFIX, RUN_RESUMED, RUN_STARTED, Cursor, encode_event
from turnwire.shared.keys import TurnKey
from turnwire.shared.ledger import LedgerRow, decode_row, encode_use
from turnwire.shared.store.reads import SESSION_SUMS
from turnwire.shared.usage import Usage
from turnwire.testing.memory import Memory, MemorySession, MemoryTurn
from turnwire.testing.memory_losses import next_attempt


def quoted(text: str) -> str:
    """Return the text as a JSON string in the form of Redis: `/` is escaped, letters beyond ASCII are not."""
    return json.dumps(text, ensure_ascii=False).replace("/", "\\/").replace("\x7f", "\\u007f")


def text_or_null(text: str | None) -> str:
    """Return the text as a JSON string; `null` for an absent or empty text."""
    return quoted(text) if text else "null"


def runs(turn: MemoryTurn | None, attempt: int, token: str) -> bool:
    """Return whether the turn belongs to this attempt of this worker."""
    if turn is None or turn.status != "running" or turn.attempt != attempt:
        return False
    return f"{turn.fields.get('worker')}#{attempt}" == token


def fence(memory: Memory, turn: MemoryTurn | None, attempt: int, token: str, lease_ms: int) -> MemoryTurn:
    """Return the turn of this attempt, and extend its lease. A lease that lapsed comes back if nobody took the turn.

    Raises:
        AttemptFenced: the turn is not this attempt's any more.
    """
    if turn is None or not runs(turn, attempt, token) or turn.holder(memory.now_ms) not in (None, token):
        raise AttemptFenced("the lease of this attempt was lost")
    turn.lease = token, memory.now_ms + lease_ms
    return turn


def add_events(memory: Memory, key: TurnKey, turn: MemoryTurn, first: Cursor, events: Sequence[bytes]) -> None:
    """Append events and publish them. Events whose ids are in the log already count as appended.

    Raises:
        AttemptFenced: a newer attempt has written, or there is no log to append to.
    """
    for seq, event in enumerate(events, first.seq):
        cursor = Cursor(first.attempt, seq)
        if turn.log is None:
            if seq > 0:
                raise AttemptFenced("the log of this turn was erased")
            turn.log = []
        if cursor > turn.last_id:
            turn.log.append((cursor, event))
            turn.last_id = cursor
        elif all(cursor != there for there, _ in turn.log):
            raise AttemptFenced("a newer attempt writes to this turn")
    for reader in memory.readers:
        reader(key, first, events)


def delete_after(turn: MemoryTurn, after: Cursor) -> list[bytes]:
    """Delete the later events. Returns them."""
    log = turn.log or []
    deleted = [event for cursor, event in log if cursor > after]
    if turn.log is not None:
        turn.log = [entry for entry in log if entry[0] <= after]
    return deleted


def cut_log(turn: MemoryTurn, *, keeps_tail: bool = False) -> tuple[Cursor | None, list[bytes]]:
    """Delete the events that no completed step and no suspension covers, or leave them with `keeps_tail`.

    Returns: the last event that stands (None: there is no log), and the events that were deleted or left.
    """
    if not turn.log:
        return None, []
    stands = turn.log[0][0]
    if turn.fields.get("stands"):
        stands = max(stands, Cursor.parse(turn.fields["stands"]))
    if keeps_tail:
        tail = [event for cursor, event in turn.log if cursor > stands]
        cut = [event for event in tail if not event.startswith(OWN_EVENT_PREFIX)]
    else:
        cut = delete_after(turn, stands)
    return turn.log[-1][0], cut


def unknown_use(turn: MemoryTurn, attempt: int) -> bytes:
    """Return the usage that a dead attempt's last checkpoint tells. The attempt may have used more."""
    used = json.loads(turn.fields.get("used") or "{}")
    return json.dumps((used if used.get("attempt") == str(attempt) else {}) | {"partial": "true"}).encode()


def keep_progress(turn: MemoryTurn, covers: str, used: bytes) -> None:
    """Note how far an attempt came, in case its worker dies. Both fields only ever grow."""
    fields = turn.fields
    stands, known = fields.get("stands", ""), fields.get("used", "")
    goes_on = covers != "" and (not stands or Cursor.parse(covers) > Cursor.parse(stands))
    more = used not in {b"", known.encode()}
    if more and known:
        new, old = json.loads(used), json.loads(known)
        more = new["attempt"] != old["attempt"] or int(new["model_calls"]) > int(old["model_calls"])
    if goes_on:
        fields["stands"] = covers
    if more:
        fields["used"] = used.decode()


def add_row(
    memory: Memory,
    session: MemorySession,
    turn: MemoryTurn,
    attempt: int,
    outcome: str,
    code: str,
    used: bytes,
    ended_ms: int | None = None,
) -> bytes:
    """Write the ledger row of an attempt that ends here, and count it, both only once. Returns the row that stays."""
    if attempt in turn.ledger:
        return turn.ledger[attempt]
    fields, now_ms = turn.fields, memory.now_ms if ended_ms is None else ended_ms
    use: dict[str, str] = json.loads(used) if used else {"partial": "true"}
    started_ms = int(fields.get("attempt_at", now_ms))
    texts = {name: fields.get(name) for name in ("run_id", "project", "user", "model")}
    texts |= {name: use.get(name) for name in ("currency", "price_version", "model_called", "finish_reason")}
    texts |= {"session_id": fields["session"], "tenant_id": fields["tenant"], "outcome": outcome, "code": code}
    numbers = {
        "attempt": attempt,
        "turn_created_at": fields["created_at"],
        "turn_index": fields["run_id"].rpartition(":")[2],
        "started_at": started_ms,
        "ended_at": now_ms,
        "wall_ms": now_ms - started_ms,
    }
    members = [
        f'"{name}":{text_or_null(texts[name]) if name in texts else (numbers | use).get(name, "null")}'
        for name in LedgerRow.__struct_fields__
    ]
    turn.ledger[attempt] = ("{" + ",".join(members) + "}").encode()
    add_to_sums(session.fields, SESSION_SUMS, turn.ledger[attempt])
    return turn.ledger[attempt]


def add_to_sums(sums: dict[str, str], prefix: str, row: bytes) -> None:
    """Count a row into a hash of sums."""
    counted = decode_row(row)

    def add(name: str, by: int | None) -> None:
        total = int(sums.get(prefix + name, "0")) + (by or 0)
        if by and total < 2**63:
            sums[prefix + name] = str(total)

    add("rows", 1)
    add("model_calls", counted.model_calls)
    add("tokens_in", counted.tokens_in)
    add("tokens_out", counted.tokens_out)
    add("cached_tokens", counted.cached_tokens)
    add("reasoning_tokens", counted.reasoning_tokens)
    add(f"cost_nanos:{counted.currency or ''}", counted.cost_nanos)
    if counted.partial or counted.tokens_in is None or counted.tokens_out is None:
        add("rows_tokens_unknown", 1)
    if counted.partial or counted.cost_nanos is None:
        add("rows_cost_unknown", 1)


def open_attempt(
    memory: Memory,
    key: TurnKey,
    session: MemorySession,
    turn: MemoryTurn,
    reason: str,
    worker: str,
    *,
    keeps_tail: bool = False,
) -> list[bytes]:
    """Start the next attempt and write its first event. If an attempt was running, it has crashed, and gets its row.

    Returns: the events that were cut off, or left with `keeps_tail`.
    """
    before, fields, now = turn.attempt, turn.fields, str(memory.now_ms)
    attempt = next_attempt(memory, turn)
    stands, cut = cut_log(turn, keeps_tail=keeps_tail)
    if stands is not None:
        event = resumed(attempt, stands, reason)
    else:
        names = {"sessionId": fields["session"], "tenantId": fields["tenant"]}
        event = encode_event(RUN_STARTED, {**names, "turnIndex": key.index, "attempt": attempt})
    add_events(memory, key, turn, Cursor(attempt, turn.next_seq), [event])
    if turn.status == "running":
        ended_ms = min(memory.now_ms, int(fields.get("lease_end", now)))
        add_row(memory, session, turn, before, "crashed", "", unknown_use(turn, before), ended_ms)
    fields |= {"status": "running", "attempt": str(attempt), "attempt_at": now, "worker": worker, "updated_at": now}
    fields.setdefault("started_at", now)
    remove(fields, "resume_reason", "awaiting", "deadline", "asked", "next_index_before", "ahead")
    return cut


def resumed(attempt: int, after: object, reason: str) -> bytes:
    """Return the first event of an attempt that continues a turn."""
    return encode_event(RUN_RESUMED, {"attempt": attempt, "after": str(after), "reason": reason})


def give_up(
    memory: Memory, key: TurnKey, session: MemorySession, turn: MemoryTurn, code: str, message: str, retention_ms: int
) -> None:
    """End the turn in an attempt that nobody runs."""
    failed = (
        f'{{"type":"session.run.failed","data":{{"sessionId":"{turn.fields["session"]}"'
        f',"message":{quoted(message)},"code":"{code}"}}}}'
    )
    events = [failed.encode()]
    if code != "cancelled":
        error = f'{{"type":"error","data":{{"message":{quoted(message)},"code":"{code}","retryable":false}}}}'
        events.insert(0, error.encode())
    add_events(memory, key, turn, Cursor(turn.attempt, turn.next_seq), events)
    status = "cancelled" if code == "cancelled" else "failed"
    add_row(memory, session, turn, turn.attempt, status, code, nothing_used())
    fields = {"error_code": code, "error_message": message, "retryable": "0"}
    close_turn(memory, session, turn, key.index, status, fields, retention_ms)


def close_turn(
    memory: Memory,
    session: MemorySession,
    turn: MemoryTurn,
    index: int,
    status: str,
    fields: Mapping[str, str],
    retention_ms: int,
) -> None:
    """End a turn: write its outcome, drop its lease, and set the time at which it expires."""
    now = str(memory.now_ms)
    turn.fields |= {"status": status, "completed_at": now, "updated_at": now, **fields}
    remove(turn.fields, "cancel_requested", "resume_reason")
    turn.lease = None
    if status == "completed":
        turn.history = None
    session.open.discard(index)
    turn.ends_ms = memory.now_ms + retention_ms
    keep_session(memory, session, retention_ms)


def keep_session(memory: Memory, session: MemorySession, retention_ms: int) -> None:
    """Let a session without an open turn expire together with its last turn."""
    if not session.open:
        session.ends_ms = memory.now_ms + retention_ms


def nothing_used() -> bytes:
    """Return the usage of an attempt that nobody ran."""
    return encode_use(Usage())


def cancel_message(reason: str) -> str:
    """Return the message of a cancelled turn."""
    return f"the turn was cancelled: {reason}" if reason else "the turn was cancelled"


def wake(memory: Memory, turn: MemoryTurn) -> None:
    """Queue a suspended turn again, because its signal or its timeout is stored."""
    turn.fields |= {"status": "queued", "resume_reason": "signal", "updated_at": str(memory.now_ms)}
    remove(turn.fields, "awaiting", "deadline")


def forget_timeout(turn: MemoryTurn) -> None:
    """Remove the last step whose signal did not come, and the timeout that is stored in place of the signal."""
    for position in sorted(turn.steps, reverse=True):
        step = json.loads(turn.steps[position])
        result = step["result"]
        if step["kind"] == "signal" and isinstance(result, dict) and result.get("timed_out"):
            del turn.steps[position]
            turn.signals.pop(step["intent"].removeprefix("signal:"), None)
            return


def remove(fields: dict[str, str], *names: str) -> None:
    """Delete fields that may be missing."""
    for name in names:
        fields.pop(name, None)
