"""What operators look at: leases, workers, the queue and usage. `--watch` looks again every second."""

import sys
import time
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from turnwire.cli import options, screen
from turnwire.cli.api_client import Api, connected, part
from turnwire.cli.exits import CommandError, Exit
from turnwire.cli.named_turn import check_session
from turnwire.cli.screen import BOLD, DIM, RED, YELLOW, painted

LOOK_S: Final = 1.0
CLEAR: Final = "\x1b[H\x1b[2J"
SHORT_LEASE: Final = 0.34  # a heartbeat comes every third of a lease, so less of it left than that is unusual


def leases(
    limit: options.Limit = 100,
    watch: options.Watch = False,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """List the leases: which worker runs which turn, and for how long its lease still lasts.

    It is what `redis-cli GET 'lease:chat:{demo}:0'` and `PTTL` say, for all turns at once.
    """

    def shown(api: Api) -> Any:
        answer = api.collected("/v1/admin/leases", "leases", limit)
        return answer["leases"] if as_json else _show_leases(answer["leases"], answer["lease_ms"])

    _look(shown, url, key_file, watch=watch, as_json=as_json)


def _show_leases(found: list[dict[str, Any]], whole_ms: int) -> None:
    rows = [
        (
            lease["run_id"], lease.get("project"), lease["worker"], lease["attempt"], lease.get("status"),
            f"{screen.duration(lease['lease_ttl_ms'])} of {screen.duration(whole_ms)}",
        )
        for lease in found
    ]  # fmt: skip
    styles = [YELLOW if (lease["lease_ttl_ms"] or 0) < SHORT_LEASE * whole_ms else "" for lease in found]
    screen.table(("run id", "project", "worker", "attempt", "status", "lease"), rows, styles)


def workers(
    watch: options.Watch = False,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """List the workers: whether they live, how many of their slots are in use, and what they run."""

    def shown(api: Api) -> Any:
        answer = api.get("/v1/admin/workers")
        return answer["workers"] if as_json else _show_workers(answer)

    _look(shown, url, key_file, watch=watch, as_json=as_json)


def _show_workers(answer: dict[str, Any]) -> None:
    now_ms = answer["now"]
    rows, styles = [], []
    for worker in answer["workers"]:
        state, style = _state(worker)
        projects = worker.get("projects")
        rows.append((
            worker["id"], state, worker.get("version"), f"{worker['running']}/{worker['slots']}",
            "all" if projects is None else ",".join(map(str, projects)), screen.since(now_ms, worker.get("started_at")),
            f"{screen.since(now_ms, worker['seen_at'])} ago", ", ".join(map(_lease, worker.get("turns") or [])),
        ))  # fmt: skip
        styles.append(style)
    screen.table(("worker", "state", "version", "slots", "projects", "up", "seen", "turns"), rows, styles)


def _state(worker: dict[str, Any]) -> tuple[str, str]:
    if not worker["is_alive"]:
        return "lost", RED
    return ("draining", YELLOW) if worker.get("is_draining") else ("alive", "")


def _lease(turn: dict[str, Any]) -> str:
    return f"{turn['run_id']} ({screen.duration(turn.get('lease_ttl_ms'))})"


def queue(
    watch: options.Watch = False,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Show what waits, and for what: lines of pools and tenants, paused projects, projects that no worker serves."""

    def shown(api: Api) -> Any:
        answer = api.get("/v1/admin/queue")
        return answer if as_json else _show_queue(answer)

    _look(shown, url, key_file, watch=watch, as_json=as_json)


def _show_queue(answer: dict[str, Any]) -> None:
    now_ms = answer.get("now", 0)
    counts = [("jobs", answer["jobs"]), ("open turns", answer["open"]), ("suspended turns", answer.get("suspended"))]
    screen.fields([*counts, ("suspects", answer["suspects"])])
    lines = answer.get("lines") or []
    if lines:
        screen.say()
        rows = [
            (line["pool"], line["tenant"], line["priority"], line["waiting"], screen.since(now_ms, line["oldest_at"]))
            for line in lines
        ]
        screen.table(("pool", "tenant", "priority", "waiting", "oldest"), rows)
    for paused in answer.get("paused") or []:
        name = f"{paused['kind']} {paused['name']}"
        text = (
            f"{name} is paused, for {screen.since(now_ms, paused['since'])}; `turnwire resume {name}` starts its turns"
        )
        screen.say(painted(screen.in_a_line(text), YELLOW))
    for unserved in answer["unserved"]:
        project = f"of project {unserved['project']}" if unserved["project"] else "without a project"
        waited = screen.since(now_ms, unserved["oldest_at"]) if now_ms else "a while"
        text = f"{unserved['turns']} turns {project} wait for a worker that has hooks for them, for {waited}"
        screen.say(painted(screen.in_a_line(text, 200), RED))


def usage(
    session: Annotated[str | None, typer.Option("--session", help="of this session")] = None,
    all_tenants: Annotated[bool, typer.Option("--all", help="of every tenant; for operators")] = False,
    tenant: Annotated[str | None, typer.Option("--tenant", help="of this tenant; for operators")] = None,
    limit: options.Limit = 100,
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Show what was used and what it cost: by your own tenant, by a session, or by every tenant."""
    of_operators = all_tenants or tenant is not None
    if of_operators and session is not None:
        raise CommandError(Exit.USAGE, "--session: give it without --all and --tenant")
    with connected(url, key_file) as api:
        if of_operators:
            found = api.collected("/v1/admin/usage", "tenants", limit, tenant=tenant)["tenants"]
        elif session is not None:
            found = [{"session_id": session, **api.get(f"/v1/sessions/{part(check_session(session))}/usage")}]
        else:
            found = [api.get("/v1/usage")]
    if as_json:
        screen.say(screen.as_json(found if of_operators else found[0]))
        return
    header = ("of", "attempts", "model calls", "tokens in", "cached", "tokens out", "reasoning", "cost")
    screen.table(header, [_sums(sums) for sums in found])
    if any(sums.get("rows_tokens_unknown") or sums.get("rows_cost_unknown") for sums in found):
        screen.note("some attempts are not in the sums: their tokens or their cost are not known")


def _sums(sums: dict[str, Any]) -> tuple[object, ...]:
    costs = [screen.cost(nanos, currency) for currency, nanos in (sums.get("cost_nanos") or {}).items()]
    of = sums.get("tenant_id") or sums.get("session_id") or "your tenant"
    names = ("rows", "model_calls", "tokens_in", "cached_tokens", "tokens_out", "reasoning_tokens")
    return (of, *(sums.get(name) for name in names), ", ".join(costs))


def _look(shown: Callable[[Api], Any], url: str, key_file: Any, *, watch: bool, as_json: bool) -> None:
    """Show something, once or every second. `shown` writes it, or returns the document to print as JSON."""
    with connected(url, key_file) as api:
        while True:
            began_s = time.monotonic()
            if watch and not as_json and screen.is_terminal(sys.stdout):
                sys.stdout.write(CLEAR + painted(f"{time.strftime('%H:%M:%S')} {api.url}", DIM) + "\n")
            document = shown(api)
            if as_json:
                screen.say(screen.as_json(document))
            sys.stdout.flush()
            if not watch:
                return
            time.sleep(max(began_s + LOOK_S - time.monotonic(), 0.1))


def info(
    as_json: options.AsJson = False,
    url: options.Url = options.DEFAULT_URL,
    key_file: options.KeyFile = None,
) -> None:
    """Show the version, the features and the limits of the API, and what your credentials may do."""
    with connected(url, key_file) as api:
        answer = api.get("/v1/info")
    if as_json:
        screen.say(screen.as_json(answer))
        return
    has = [name for name, is_on in answer.get("features", {}).items() if is_on]
    screen.fields([
        ("API", url), ("version", answer["version"]), ("deployment", answer.get("deployment")),
        ("features", ", ".join(has)), ("tenant", answer.get("tenant")), ("user", answer.get("user")),
        ("scopes", ", ".join(answer.get("scopes") or [])),
    ])  # fmt: skip
    screen.say()
    screen.say(painted("Limits", BOLD))
    screen.fields(list(answer.get("limits", {}).items()))
