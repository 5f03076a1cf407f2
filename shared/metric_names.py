"""Lists every metric. They are made from this table, and docs/metrics.md and the alert rules are checked against it."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
Process = Literal["api", "worker"]

API: Final[tuple[Process, ...]] = ("api",)
WORKER: Final[tuple[Process, ...]] = ("worker",)
BOTH: Final[tuple[Process, ...]] = ("api", "worker")

OTHER: Final = "other"  # the value of a label for everything that has no name of its own

_QUICK: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_LATENCY: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LONG: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metric(msgspec.Struct, frozen=True):
    """One metric.

    Attributes:
        name: it ends with the unit.
        meaning: what it counts or measures.
        labels: the name of each label, with all its values. No values: the code decides them, and they are few.
        processes: those that export it.
        buckets: the upper bounds of a histogram.
    """

    name: str
    kind: Kind
    meaning: str
    processes: tuple[Process, ...] = BOTH
    labels: Mapping[str, tuple[str, ...]] = {}
    buckets: tuple[float, ...] = ()


def _counter(
    name: str, meaning: str, processes: tuple[Process, ...] = BOTH, **labels: tuple[str, ...]
) -> Metric:  # fmt: skip
    return Metric(name, "counter", meaning, processes, labels)


def _gauge(name: str, meaning: str, processes: tuple[Process, ...] = BOTH, **labels: tuple[str, ...]) -> Metric:
    return Metric(name, "gauge", meaning, processes, labels)


def _histogram(
    name: str, meaning: str, processes: tuple[Process, ...] = BOTH, buckets: tuple[float, ...] = _LATENCY
) -> Metric:  # fmt: skip
    return Metric(name, "histogram", meaning, processes, buckets=buckets)


_IN_BOTH: Final = (
    _gauge("turnwire_build_info", "always 1; its label is the version that runs", version=()),
    _gauge("turnwire_draining", "1 while the process stops and takes nothing new, otherwise 0"),
    _histogram("turnwire_event_loop_lag_seconds", "how late the event loop runs a callback; four times a second"),
    _histogram("turnwire_redis_round_trip_seconds", "round trips of script calls to Redis", buckets=_QUICK),
    _counter("turnwire_redis_commands_total", "commands in those round trips"),
    _counter("turnwire_redis_failures_total", "round trips that failed: no connection, or no reply in time"),
)

_OF_THE_API: Final = (
    _histogram("turnwire_first_event_seconds", "from the POST of a new turn to the first event on its stream", API),
    _histogram("turnwire_replay_seconds", "from the repeated POST of a completed turn to the end of its answer", API),
    _counter("turnwire_requests_total", "requests that reached an operation", API, operation=()),
    _counter("turnwire_problems_total", "requests that were answered with a problem document", API, code=()),
    _counter(
        "turnwire_turns_asked_total",
        "POSTs of turns that were accepted, by what was there before",
        API,
        verdict=("created", "reopened", "attached", "running", "replay"),
    ),
    _counter(
        "turnwire_refused_requests_total",
        "requests that a limit refused, by whose limit it is",
        API,
        code=("rate_limited", "open_turns_limit", "session_limit", "tail_limit", "queue_full"),
        holder=("tenant", "key", "deployment"),
    ),
    _counter(
        "turnwire_refused_credentials_total",
        "requests that were refused for their credentials",
        API,
        code=("unauthenticated", "forbidden", "keys_unavailable"),
    ),
    _counter("turnwire_stalled_clients_total", "clients that were cut off because they did not read", API),
    _counter("turnwire_subscriptions_lost_total", "times at which the connection for live events was lost", API),
    _gauge("turnwire_tails", "clients that follow a turn or a session in this process", API),
    _gauge("turnwire_followed_turns", "turns that are followed in this process, also for followers of sessions", API),
)

_OF_THE_DEPLOYMENT: Final = (
    _gauge("turnwire_store_up", "1 if Redis has answered this scrape, otherwise 0", API, server=("data", "queue")),
    _gauge("turnwire_queue_waiting_jobs", "jobs that wait for a free worker", API, pool=(), tenant=()),
    _gauge("turnwire_queue_oldest_waiting_seconds", "how long the oldest of them waits", API, pool=(), tenant=()),
    _gauge("turnwire_queue_jobs", "all jobs: those that wait, run, or are put off", API),
    _gauge("turnwire_queue_limit_jobs", "the most jobs there may be: more turns are refused", API),
    _gauge("turnwire_queue_open_turns", "turns that have not ended: they wait, run, or are suspended", API),
    _gauge("turnwire_queue_suspended_turns", "turns that wait for a signal or its timeout", API, pool=(), tenant=()),
    _gauge("turnwire_queue_parked_turns", "open turns without a job: suspended, or behind an earlier turn", API),
    _gauge("turnwire_queue_running_jobs", "jobs that run, by the last heartbeats of the workers", API),
    _gauge("turnwire_queue_workers", "workers that are registered", API),
    _gauge("turnwire_queue_slots", "jobs that they can run at a time", API),
    _gauge("turnwire_queue_suspect_turns", "turns that wait for an idle worker because workers died over them", API),
    _gauge("turnwire_queue_unserved_turns", "turns that no worker has hooks for", API),
    _gauge("turnwire_queue_persist_pending", "answers that the product has not stored yet", API),
    _gauge("turnwire_queue_persist_oldest_seconds", "how long the oldest of them waits", API),
    _gauge("turnwire_queue_callbacks_pending", "callbacks that were not made yet", API),
    _gauge("turnwire_queue_callbacks_oldest_seconds", "how long the oldest of them waits", API),
)

_OF_THE_WORKER: Final = (
    _histogram("turnwire_dispatch_seconds", "from the moment at which a new turn may run to its claim", WORKER),
    _histogram("turnwire_takeover_seconds", "from the last renewal of a dead worker's lease to the next claim", WORKER),
    _histogram("turnwire_signal_to_resume_seconds", "from a signal, or its timeout, to the claim", WORKER),
    _histogram("turnwire_append_seconds", "from the oldest event of an append to its place in Redis", WORKER, _QUICK),
    _histogram("turnwire_first_token_seconds", "from the claim to the first piece of text", WORKER),
    _histogram("turnwire_attempt_seconds", "from the claim to the end of the attempt", WORKER, _LONG),
    _counter(
        "turnwire_attempts_total", "attempts that began, by the reason", WORKER,
        reason=("first", "lease_expired", "handover", "retry", "signal", "store_lost", OTHER),
    ),
    _counter(
        "turnwire_attempt_ends_total", "attempts that ended", WORKER,
        outcome=("completed", "failed", "cancelled", "suspended", "handover", "lease_lost", OTHER),
    ),
    _counter("turnwire_fenced_writes_total", "writes that Redis refused because another attempt has the turn", WORKER),
    _counter("turnwire_buried_workers_total", "other workers that this one has found dead", WORKER),
    _counter(
        "turnwire_sweep_finds_total", "jobs that the sweep has put back because nobody worked on them", WORKER,
        kind=("turn", "signal_timeout", "persist", "callback", "erasure"),
    ),
    _counter("turnwire_events_appended_total", "events that were written to logs", WORKER),
    _counter("turnwire_events_restored_total", "events that were written again because Redis had lost them", WORKER),
    _counter("turnwire_persist_failures_total", "tries of the outbox to persist an answer that failed", WORKER),
    _counter("turnwire_callback_failures_total", "tries to make a callback that failed", WORKER),
    _counter("turnwire_defects_total", "jobs that failed because of a bug in Turnwire", WORKER),
    _counter("turnwire_model_calls_total", "calls of models that were reported", WORKER, model=()),
    _counter(
        "turnwire_tokens_total", "tokens; `cached` are among `input`, and `reasoning` among `output`", WORKER,
        model=(), kind=("input", "output", "cached", "reasoning"),
    ),
    _counter("turnwire_cost_total", "what the calls cost, in units of the currency", WORKER, model=(), currency=()),
    _gauge("turnwire_slots", "jobs that run turns at a time, at most", WORKER),
    _gauge("turnwire_running_turns", "turns that run in this process", WORKER),
    _gauge("turnwire_running_jobs", "jobs that run in this process, also those of the outbox", WORKER),
    _gauge("turnwire_heartbeat_age_seconds", "since the last heartbeat that Redis has taken", WORKER),
    _gauge("turnwire_loop_blocked_seconds", "for how long the event loop has not answered", WORKER),
)  # fmt: skip

METRICS: Final = (*_IN_BOTH, *_OF_THE_API, *_OF_THE_DEPLOYMENT, *_OF_THE_WORKER)
BY_NAME: Final = {metric.name: metric for metric in METRICS}
