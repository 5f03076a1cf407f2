"""`turns` lists turns, `cancel` stops one, and `signal` sends one what it waits for."""

import json
import sys
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from turnwire.cli import options, screen
from turnwire.cli.api_client import Api, connected, part
from turnwire.cli.exits import CommandError, Exit
from turnwire.cli.named_turn import NamedTurn, check_session, named_turn, run_id
from turnwire.cli.screen import STATUS_STYLES, note
from turnwire.cli.summary import parent_text, usage_text


class State(StrEnum):
    """The state of a turn, or one of those that are open, or that have ended."""

    QUEUED = "queued"
    RUNNING = "running"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    OPEN = "open"
    ENDED = "ended"


def turns(
    session: Annotated[str | None, typer.Argument(metavar="SESSION", help="of this session only")] = None,
    state: Annotated[State | None, typer.Option("--state", help="in this state")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="of this tenant")] = None,
    project: Annotated[str | None, typer.Option("--project", help="of this project")] = None,
    worker: Annotated[str | None, typer.Option("--worker", help="that this worker runs")] = None,
    search: Annotated[str | None, typer.Option("--search", metavar="TEXT", help="whose run id holds this text")] = None,
    older_than: Annotated[
        int | None, typer.Option("--older-than", min=0, metavar="SECONDS", help="that were asked before that")
    ] = None,
    limit: options.Limit = 50,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """List turns: those of one session, or of all sessions, newest first.

    With a session, and without another option, credentials that may read suffice. Everything else is for operators, and
    needs the scope admin.
    """
    asked = {
        "state": state and state.value, "tenant": tenant, "project": project, "worker": worker, "q": search,
        "older_than_s": older_than,
    }  # fmt: skip
    with connected(url, key_file) as api:
        if session is not None and not any(value is not None for value in asked.values()):
            _list_session(api, check_session(session), limit, as_json=as_json)
            return
        answer = api.collected("/v1/admin/turns", "turns", limit, session=session, **asked)
    if as_json:
        screen.say(screen.as_json(answer["turns"]))
    else:
        _show_all(answer["turns"], answer["now"])


def _show_all(found: list[dict[str, Any]], now_ms: int) -> None:
    header = ("run id", "status", "project", "model", "attempt", "age", "worker", "waits for", "cost")
    rows = [
        (
            turn["run_id"], turn["status"], turn.get("project"), turn.get("model"), turn["attempt"],
            screen.since(now_ms, turn["created_at"]), worker_of(turn),
            waits_text(turn.get("waits_for"), now_ms) or turn.get("code"), cost_text(turn.get("cost")),
        )
        for turn in found
    ]  # fmt: skip
    screen.table(header, rows, [STATUS_STYLES.get(turn["status"], "") for turn in found])


def _list_session(api: Api, session: str, limit: int, *, as_json: bool) -> None:
    found = api.collected(f"/v1/sessions/{part(session)}/turns", "turns", limit)["turns"]
    if as_json:
        screen.say(screen.as_json(found))
        return
    rows = [
        (
            turn["turn_index"], turn["status"], turn["attempt"], parent_text(turn), turn.get("model"),
            message_text(turn["message"]), turn.get("final_text") or (turn.get("error") or {}).get("code"),
            usage_text(turn.get("usage") or {}),
        )
        for turn in found
    ]  # fmt: skip
    header = ("index", "status", "attempt", "parent", "model", "message", "answer", "usage")
    short = [[screen.in_a_line(cell, 40) if isinstance(cell, str) else cell for cell in row] for row in rows]
    screen.table(header, short, [STATUS_STYLES.get(turn["status"], "") for turn in found])


def cancel(
    session: options.SessionOrRun,
    index: options.Index = None,
    reason: Annotated[str | None, typer.Option("--reason", help="becomes part of the turn's error message")] = None,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Cancel a turn, whether it waits, runs, is suspended or has lost its worker."""
    with connected(url, key_file) as api:
        turn = named_turn(api, session, index)
        response = api.post(_own_or_admin(turn, "cancel"), {"reason": reason})
    document = response.json()
    if as_json:
        screen.say(screen.as_json(document))
        return
    shown = document.get("turn", document)
    had_ended = response.status_code == 200
    note(f"{shown['run_id']} had ended already: {shown['status']}" if had_ended else f"{shown['run_id']} is cancelled")


def signal(
    session: options.SessionOrRun,
    index: Annotated[int, typer.Argument(metavar="INDEX", min=0, help="the index of the turn", show_default=False)],
    key: Annotated[str, typer.Argument(metavar="KEY", help="the name of the signal", show_default=False)],
    payload: Annotated[
        str, typer.Argument(metavar="PAYLOAD", help="JSON, or any other text; - reads it from standard input")
    ] = "null",
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Send a turn the signal that it waits for, or will wait for, such as an approval.

    The first signal of a key counts. A payload that is no JSON is sent as a text.
    """
    text = sys.stdin.read() if payload == "-" else payload
    with connected(url, key_file) as api:
        turn = named_turn(api, check_session(session), index)
        response = api.post(f"{turn.path}/signals/{part(key)}", {"payload": json_or_text(text)})
    stored = response.json()
    if as_json:
        screen.say(screen.as_json(stored))
    elif response.status_code == 202:
        note(f"the turn has the signal {screen.in_a_line(key)}")
    else:
        why = "had stopped waiting" if stored.get("timed_out") else "had this signal already"
        raise CommandError(Exit.FAILED, f"the turn {why}: {screen.as_json(stored.get('payload'))}")


def _own_or_admin(turn: NamedTurn, action: str) -> str:
    """Return the path of an action. An operator reaches the turns of every tenant under their run ids."""
    if turn.is_of_other_tenant:
        return f"/v1/admin/turns/{part(run_id(turn, ''))}/{action}"
    return f"{turn.path}/{action}"


def json_or_text(text: str) -> Any:
    """Return the value that a text is in JSON, or the text itself if it is no JSON."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except ValueError:
        return text


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def message_text(message: Any) -> str:
    """Return a message as text. A part that is no text is shown by its type."""
    if isinstance(message, str):
        return message
    return " ".join(str(piece.get("text", f"[{piece.get('type')}]")) for piece in message)


_WAITS_FOR: Final = {
    "worker": "a free slot of a worker in {detail}",
    "earlier_turn": "the earlier turn {detail}",
    "signal": "the signal {detail}",
    "paused": "an operator: the {detail} is paused",
    "unserved": "a worker with hooks for {detail}",
    "suspect": "an idle worker, because workers died over it",
    "retry": "its next try",
}


def waits_text(waits: dict[str, Any] | None, now_ms: int) -> str | None:
    """Return for what a turn waits, and for how long already; None if it does not wait."""
    if not waits:
        return None
    reason, detail = str(waits["reason"]), str(waits.get("detail") or "")
    if reason == "unserved":
        detail = f"the project {detail}" if detail else "turns without a project"
    text = _WAITS_FOR.get(reason, f"{reason} {detail}").format(detail=detail.replace(":", " ", reason == "paused"))
    return f"{text.strip()}, for {screen.since(now_ms, waits.get('since'))}"


def worker_of(turn: dict[str, Any]) -> str | None:
    """Return the worker that runs an open turn, or has run one that has ended; None: no worker has it."""
    return turn.get("worker") if turn["status"] not in {"queued", "suspended"} else None


def cost_text(cost: Any) -> str | None:
    """Return the cost of a turn: a document with `cost_nanos` and `currency`; None if there is none."""
    if not isinstance(cost, dict) or cost.get("cost_nanos") is None:
        return None
    return screen.cost(cost["cost_nanos"], cost.get("currency"))
