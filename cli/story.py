"""`show` tells the whole story of a turn: who runs it, why it waits, its steps, its attempts and its cost."""

import time
from typing import Any

from turnwire.cli import options, screen
from turnwire.cli.api_client import Api, Refused, connected, part
from turnwire.cli.exits import Exit
from turnwire.cli.following import ENDED
from turnwire.cli.named_turn import NamedTurn, named_turn, run_id
from turnwire.cli.screen import BOLD, RED, STATUS_STYLES, YELLOW, painted
from turnwire.cli.summary import parent_text, usage_text
from turnwire.cli.turns import message_text, waits_text, worker_of


def show(
    session: options.SessionOrRun,
    index: options.Index = None,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Show the whole story of a turn: its worker and lease, why it waits, steps, attempts, usage, cost and log.

    Credentials with the scope admin see all of it, for the turns of every tenant. Others see the record and the ledger
    of their own turns.
    """
    with connected(url, key_file) as api:
        turn = named_turn(api, session, index)
        story = _story(api, turn)
    if as_json:
        screen.say(screen.as_json(story))
        return
    _show_record(story)
    _show_steps(story.get("steps") or [])
    _show_attempts(story.get("attempts") or [])
    _show_signals(story.get("signals") or [], int(story.get("now", 0)))


def _story(api: Api, turn: NamedTurn) -> dict[str, Any]:
    """Return what an operator may see, or what a client may see in the same shape."""
    try:
        tenant = "" if turn.tenant else str(api.get("/v1/info").get("tenant") or "default")
        story: dict[str, Any] = api.get(f"/v1/admin/turns/{part(run_id(turn, tenant))}")
    except Refused as refused:
        if refused.status == 404 and refused.problem.get("detail") != "no such path":
            raise
        if refused.code is Exit.FAILED or (refused.status == 403 and not turn.is_of_other_tenant):
            record = api.get(turn.path)
            attempts = api.get(f"{turn.path}/ledger")["rows"]
            return {"record": record, "attempts": attempts, "now": round(time.time() * 1000)}
        raise
    return story


def _show_record(story: dict[str, Any]) -> None:
    record, lease, job, log = (story.get(name) or {} for name in ("record", "lease", "job", "log"))
    turn, callback = story.get("turn") or {}, story.get("callback")
    now_ms = int(story.get("now", 0))
    error = record.get("error") or {}
    status = record["status"]
    screen.fields([
        ("turn", record["run_id"]),
        ("status", status),
        ("waits for", waits_text(turn.get("waits_for"), now_ms) or _waits(record)),
        ("worker", _worker(lease) or (worker_of(turn) if turn else None) or _last_worker(turn)),
        ("attempt", record["attempt"]),
        ("asked", f"{screen.since(now_ms, record['created_at'])} ago"),
        ("ran", _span(record)),
        ("job", _job(job, now_ms) if job else None),
        ("tenant", record["tenant_id"]),
        ("user", record.get("user")),
        ("project", record.get("project")),
        ("model", record.get("model")),
        ("parent", parent_text(record)),
        ("lane", f"{record.get('pool', 'default')}, {record.get('priority', 'interactive')}"),
        ("usage", usage_text(record.get("usage") or {}) or _no_usage(story)),
        ("finish", (record.get("usage") or {}).get("finish_reason")),
        ("persisted", {"pending": "not yet", "done": "yes"}.get(str(record.get("persist")))),
        ("callback", callback and callback.get("url")),
        ("log", _log(log)),
        ("error", error and f"{error.get('code')}: {error.get('message')}"),
        ("message", message_text(record["message"])),
        ("answer", record.get("final_text") or record.get("partial_text")),
    ], {"status": STATUS_STYLES.get(status, ""), "waits for": YELLOW, "error": RED})  # fmt: skip


def _worker(lease: dict[str, Any]) -> str | None:
    return f"{lease['worker']}, lease for {screen.duration(lease['lease_ttl_ms'])} more" if lease else None


def _last_worker(turn: dict[str, Any]) -> str | None:
    return f"none now; the last one was {turn['worker']}" if turn.get("worker") else None


def _no_usage(story: dict[str, Any]) -> str | None:
    """Return why nothing is known of the usage of a turn."""
    if story.get("attempts"):
        return "no model was called"
    return "not known before an attempt ends" if story["record"]["status"] not in ENDED else None


def _waits(record: dict[str, Any]) -> str | None:
    return f"the signal {record['awaiting']}" if record.get("awaiting") and record["status"] == "suspended" else None


def _span(record: dict[str, Any]) -> str | None:
    began, ended = record.get("started_at"), record.get("completed_at")
    return screen.duration(ended - began) if began and ended else None


def _log(log: dict[str, Any]) -> str | None:
    if not log.get("events"):
        return None
    return f"{log['events']} events, {log['bytes']} bytes, {log['first']} to {log['last']}"


def _job(job: dict[str, Any], now_ms: int) -> str | None:
    if not job.get("is_queued"):
        return "none"
    due_ms = job.get("due_at")
    if job.get("worker"):
        return f"claimed by {job['worker']}"
    return "queued" + (f", due in {screen.duration(due_ms - now_ms)}" if due_ms and due_ms > now_ms else "")


def _title(text: str) -> None:
    screen.say()
    screen.say(painted(text, BOLD))


def _show_steps(steps: list[dict[str, Any]]) -> None:
    if not steps:
        return
    _title("Steps")
    rows = [
        (step["name"], step["status"], step.get("attempt"), _took(step), step.get("bytes")) for step in steps
    ]  # fmt: skip
    screen.table(("name", "status", "attempt", "took", "bytes"), rows)


def _took(times: dict[str, Any]) -> str:
    began, ended = times.get("started_at"), times.get("ended_at")
    return screen.duration(ended - began if began and ended else None)


def _show_attempts(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    _title("Attempts that have ended")
    shown = [
        (
            row["attempt"], row["outcome"], row.get("code"), screen.duration(row["wall_ms"]),
            screen.duration(row.get("first_token_ms")), row.get("model_called"), usage_text(row),
        )
        for row in rows
    ]  # fmt: skip
    screen.table(("attempt", "outcome", "code", "took", "first token", "model", "usage"), shown)


def _show_signals(signals: list[dict[str, Any]], now_ms: int) -> None:
    if not signals:
        return
    _title("Signals")
    rows = [(signal["key"], f"{screen.since(now_ms, signal['at'])} ago", signal.get("bytes")) for signal in signals]
    screen.table(("key", "came", "bytes"), rows)
