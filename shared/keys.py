"""Spells every Redis key. The pub/sub channels are spelled in channels.py.

Rule 1: no other module, script or test builds a key from text. Lua scripts get their keys from here.
Rule 2: all keys of a session carry its hash tag, `{<scope>}`, so that one script may touch them on a cluster.
Rule 3: a client's text reaches a key only through `session_key`, which refuses characters that separate parts of keys.
"""

import re
from typing import Final, Self

import msgspec

from turnwire.shared.channels import channel_prefix
from turnwire.shared.errors import BadRequest

DEFAULT_TENANT: Final = "default"
DEFAULT_POOL: Final = "default"
MAX_TURN_INDEX: Final = 2**31 - 1
_SESSION = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_RUN_ID = re.compile(r"chat:(?:([A-Za-z0-9._-]{1,64})~)?([A-Za-z0-9._-]{1,128}):(0|[1-9][0-9]{0,9})\Z")
PERSIST_PREFIX: Final = "persist:"  # a job that persists an answer has this prefix and the turn's run id as its id
ERASURE_PREFIX: Final = "erase:"  # a job that tells a product of an erasure has this prefix and the erasure's id
CALLBACK_PREFIX: Final = "callback:"  # a job that tells a client's server of a turn; the turn's run id follows
# Keys of the queue Redis, which belong to no single session.
OPEN_TURNS: Final = "turnwire:open"  # zset    job id -> when the sweep should look at it (ms)
LISTED: Final = "turnwire:listed"  # zset    run id -> when its turn was first enqueued (µs); the newest, for operators
PENDING: Final = "turnwire:pending"  # zset    id of a job that persists an answer -> since when it waits (µs)
CALLBACKS: Final = "turnwire:callbacks"  # zset    the same of a job that tells a client's server of a turn
BEAT: Final = "turnwire:beat"  # string  when the last heartbeat of any worker came (ms); TTL
GRACE: Final = "turnwire:grace"  # string  lapsed claims are left alone while it is there; TTL
FILLED_IN: Final = "turnwire:filled_in"  # string  lineage of the server's data in which the queue is complete
FILLED_FROM: Final = "turnwire:filled_from"  # string  lineage of the turns' data, if it is on another server
REBUILDING: Final = "turnwire:rebuilding"  # string  who fills the queue again after a loss; TTL
HINTS: Final = "turnwire:hints"  # list    job ids just enqueued: each wakes one idle worker; bounded, may lose some
WORKERS: Final = "turnwire:workers"  # hash    worker id -> JSON: its last heartbeat and what it does
SUSPECTS: Final = "turnwire:suspects"  # zset    job id -> how many jobs may run in its worker, all of them suspects
ISOLATING: Final = "turnwire:isolating"  # zset    worker that runs suspects -> until when that counts (ms); TTL
CLEARING: Final = "turnwire:clearing"  # string  the worker that takes nothing until it is idle, for suspects; TTL
RING: Final = "turnwire:ring"  # zset    the ids of the workers, in order: each one watches those that follow it
SWEEPER: Final = "turnwire:sweeper"  # string  the worker that sweeps; TTL = its term, renewed with each sweep
AUDIT: Final = "turnwire:audit"  # stream  who asked for an erasure, a cancel, a signal or a token; capped (data Redis)
PAUSED: Final = "turnwire:paused"  # hash    `tenant:<name>`, `project:<name>` -> since when (ms; both servers)
HELD_PREFIX: Final = "turnwire:held:"  # zset    of what is paused: its jobs -> since when they wait (µs)
UNSERVED: Final = "turnwire:unserved"  # zset    run id that no hooks were found for -> until when that counts (ms); TTL
UNSERVED_SINCE: Final = "turnwire:unserved:since"  # hash    run id -> since when it waits (ms), and its project; TTL
CANCELLING: Final = "turnwire:cancelling"  # zset    run id -> until when an API process watches its cancel (ms); TTL
HINTS_PREFIX: Final = "turnwire:hints:"  # list    the same for the jobs of another pool than the default one
TENANTS_PREFIX: Final = "turnwire:tenants:"  # zset    of a lane: tenant with waiting jobs -> its virtual start
DEBTS_PREFIX: Final = "turnwire:debts:"  # zset    of a lane: other tenants -> theirs, if to come; '' -> virtual time
WAITING_PREFIX: Final = "turnwire:waiting:"  # zset    of a tenant in a lane: its waiting jobs -> since when (µs)
AGEING_PREFIX: Final = "turnwire:ageing:"  # zset    of a pool: its waiting batch jobs -> since when (µs)
LANE_PREFIX: Final = "turnwire:lane:"  # string  the lane of a job, unless it is the default one; TTL
WEIGHT_PREFIX: Final = "turnwire:weight:"  # string  the weight of a tenant; TTL
RATE_PREFIX: Final = "turnwire:rate:"  # string  when the bucket of a tenant's requests would be full again (µs); TTL
OWN_OPEN_PREFIX: Final = "turnwire:open:"  # set     the open turns of a tenant that may have so many only; TTL
OWN_SESSIONS_PREFIX: Final = "turnwire:sessions:"  # zset    the sessions of such a tenant -> until when they count; TTL
KEY_RATE_PREFIX: Final = "turnwire:key_rate:"  # string  the same as `turnwire:rate:` of an API key; TTL
KEY_OPEN_PREFIX: Final = "turnwire:key_open:"  # zset    the open turns of such a key -> when one looked (µs); TTL
KEY_SESSIONS_PREFIX: Final = "turnwire:key_sessions:"  # zset    the sessions of such a key -> until when; TTL
RESERVING: Final = "turnwire:reserving"  # string  is there while a worker has none but reserved slots; TTL
NEWCOMERS_PREFIX: Final = "turnwire:newcomers:"  # list    of a pool: wakes such workers; TTL
CLAIMS_PREFIX: Final = "turnwire:claims:"  # set     the jobs that a worker has claimed; TTL = two leases
DRAIN_PREFIX: Final = "turnwire:drain:"  # string  is there while an operator wants this worker to drain; TTL
ROW_INDEX: Final = "turnwire:row_index"  # hash  how much of the ledger is in the indexes of sessions
NAMED_ROWS_PREFIX: Final = "turnwire:named_rows:"  # zset  id of a row of the session that names a user -> when
LEDGER: Final = "turnwire:ledger"  # stream  the ledger row of each attempt that has ended, for billing; capped
USED: Final = "turnwire:used"  # zset    the tenants that have such sums, by name
USAGE_PREFIX: Final = "turnwire:usage:"  # hash    the sums of a tenant's rows; kept for ever
BILLED_PREFIX: Final = "turnwire:billed:"  # string  up to which row a turn is on that stream; TTL once it has ended
QUEUE: Final = "arq:queue"  # zset    arq's: job id -> when it may start (ms); negative: it waits in a line
JOB_PREFIX: Final = "arq:job:"  # string  arq's: the serialized job; has a TTL
IN_PROGRESS_PREFIX: Final = "arq:in-progress:"  # string  arq's: the worker that claimed the job; TTL = the lease
ERASURES: Final = "turnwire:erasures"  # hash    id -> an erasure that no product has followed yet (data Redis)
USER_SESSIONS_PREFIX: Final = "turnwire:user_sessions:"  # zset    session -> when the user last asked for a turn there
REVOKED: Final = "turnwire:revoked"  # zset    <revocation>@<ms> -> until when it counts (ms; data Redis); TTL
FOUND_PREFIX: Final = "turnwire:found:"  # string  a finding about a model server (data Redis); TTL
SUSPENDED: Final = "turnwire:suspended"  # zset    `<pool> <run id>` of a suspended turn -> since when (µs; data Redis)
SUSPENDED_LINES: Final = "turnwire:suspended_lines"  # zset    `<pool> <tenant>` -> how many of these (data Redis)
SUSPENDED_INDEX: Final = (SUSPENDED, SUSPENDED_LINES)  # in the order in which scripts take them
ALL_TURNS: Final = "turn:chat:*"  # a pattern for SCAN (data Redis): the record of every turn


class SessionKey(msgspec.Struct, frozen=True):
    """Names one session of one tenant."""

    tenant: str
    session: str

    @property
    def scope(self) -> str:
        """The session part of every key: `<tenant>~<session>`, without prefix for the default tenant."""
        return self.session if self.tenant == DEFAULT_TENANT else f"{self.tenant}~{self.session}"

    @property
    def record(self) -> str:
        """hash: tenant, user, created_at, next_index, followed; `usage:…` -> sums; `key:<idempotency key>` -> index"""
        return f"session:chat:{{{self.scope}}}"

    @property
    def numbering(self) -> str:
        """string: the session's next index. It outlives the turns and the hash, so that no index is given twice."""
        return f"numbering:chat:{{{self.scope}}}"

    @property
    def turns(self) -> str:
        """zset: the index of every turn"""
        return f"turns:chat:{{{self.scope}}}"

    @property
    def open(self) -> str:
        """zset: the indexes that are not terminal"""
        return f"open:chat:{{{self.scope}}}"

    def channel(self, deployment: str) -> str:
        """Return the pub/sub channel that tells those who follow the session of the turns that are asked for."""
        return f"{channel_prefix(deployment)}events:chat:{{{self.scope}}}"

    def turn(self, index: int) -> "TurnKey":
        """Return the key of the session's turn at `index`."""
        return TurnKey(self, index)


class TurnKey(msgspec.Struct, frozen=True):
    """Names one turn."""

    session: SessionKey
    index: int

    @classmethod
    def parse(cls, run_id: str) -> Self:
        """Return the key of the turn that this run id names.

        Raises:
            BadRequest: the text is not a run id.
        """
        match = _RUN_ID.match(run_id)
        if match is None:
            raise BadRequest("not a run id: chat:<session>:<index>")
        return cls(SessionKey(match[1] or DEFAULT_TENANT, match[2]), int(match[3]))

    def _key(self, kind: str) -> str:
        return f"{kind}:chat:{{{self.session.scope}}}:{self.index}"

    @property
    def run_id(self) -> str:
        """`chat:<session>:<index>`: the arq job id, and the name in logs."""
        return f"chat:{self.session.scope}:{self.index}"

    @property
    def record(self) -> str:
        """hash: status, attempt, the request, the outcome"""
        return self._key("turn")

    @property
    def lease(self) -> str:
        """string: `<worker id>#<attempt>`; its TTL is the rest of the lease"""
        return self._key("lease")

    @property
    def steps(self) -> str:
        """hash: `<n>` -> JSON step record"""
        return self._key("steps")

    @property
    def events(self) -> str:
        """stream: `<attempt>-<seq>` -> one field `e`, the event's bytes"""
        return self._key("events")

    def channel(self, deployment: str) -> str:
        """Return the pub/sub channel of the turn's events: the deployment's prefix, then the key of its log."""
        return channel_prefix(deployment) + self.events

    @property
    def signals(self) -> str:
        """hash: key -> JSON `{payload, emitted_at}`"""
        return self._key("signals")

    @property
    def ledger(self) -> str:
        """hash: attempt -> JSON row that says what this attempt, which has ended, used and cost"""
        return self._key("ledger")

    def all_keys(self) -> list[str]:
        """Return the keys of the session and of the turn, in the order in which scripts take them."""
        of_session = f"chat:{{{self.session.scope}}}"
        of_turn = f"{of_session}:{self.index}"
        return [
            f"session:{of_session}", f"turns:{of_session}", f"open:{of_session}", f"turn:{of_turn}", f"lease:{of_turn}",
            f"steps:{of_turn}", f"events:{of_turn}", f"signals:{of_turn}", f"ledger:{of_turn}",
        ]  # fmt: skip

    def lasting_keys(self) -> list[str]:
        """Return the same keys without the lease, which ends with its attempt."""
        names = self.all_keys()
        names.remove(self.lease)
        return names


def session_key(session: str, tenant: str = DEFAULT_TENANT) -> SessionKey:
    """Return the key of the session that a client named.

    Raises:
        BadRequest: it does not have 1 to 128 characters of `A-Z a-z 0-9 . _ -`, or clients drop it: `.` and `..`.
    """
    if not _SESSION.match(session) or session in {".", ".."}:
        raise BadRequest("a session id must have 1 to 128 characters of A-Z a-z 0-9 . _ -")
    return SessionKey(tenant, session)


def persist_id(run_id: str) -> str:
    """Return the id of the job that persists the answer of this turn."""
    return PERSIST_PREFIX + run_id


def is_persist_id(job_id: str) -> bool:
    """True if the job persists an answer, False if it runs a turn."""
    return job_id.startswith(PERSIST_PREFIX)


def run_id_of(job_id: str) -> str:
    """Return the run id of the turn that the job runs, or whose answer it persists."""
    return job_id.removeprefix(PERSIST_PREFIX)


def other_job(job_id: str) -> str:
    """Return the id of the turn's other job. A turn has two jobs: one runs it, and one persists its answer."""
    return run_id_of(job_id) if is_persist_id(job_id) else persist_id(job_id)


def is_run_id(text: str) -> bool:
    """True if the text names a turn. A job with such an id runs this turn."""
    return _RUN_ID.match(text) is not None


def is_outbox_job(job_id: str) -> bool:
    """True if the job runs no turn: it persists an answer, or tells somebody of an erasure or of a turn."""
    return job_id.startswith((PERSIST_PREFIX, ERASURE_PREFIX, CALLBACK_PREFIX))


def user_sessions(tenant: str, digest: str) -> str:
    """Return the key of the sessions of a user. `digest` stands for the user, whom no key may name."""
    return f"{USER_SESSIONS_PREFIX}{tenant}:{digest}"


def job(job_id: str) -> str:
    """Return arq's key of a job."""
    return JOB_PREFIX + job_id


def in_progress(job_id: str) -> str:
    """Return arq's key of the claim on a job."""
    return IN_PROGRESS_PREFIX + job_id


def tenant_of(job_id: str) -> str:
    """Return the tenant of a job. One whose id is not readable belongs to the default tenant."""
    match = _RUN_ID.match(run_id_of(job_id).removeprefix(CALLBACK_PREFIX))
    return (match and match[1]) or DEFAULT_TENANT


def hints(pool: str) -> str:
    """Return the key of the list that wakes idle workers of a pool."""
    return HINTS if pool == DEFAULT_POOL else HINTS_PREFIX + pool


def line(lane: str, tenant: str) -> list[str]:
    """Return the keys of a lane and of a tenant's line in it, in the order in which scripts take them."""
    return [TENANTS_PREFIX + lane, DEBTS_PREFIX + lane, f"{WAITING_PREFIX}{lane}:{tenant}"]


def claims(worker: str) -> str:
    """Return the key of the set of jobs that a worker has claimed."""
    return CLAIMS_PREFIX + worker


def usage(tenant: str) -> str:
    """Return the key of the sums of a tenant's ledger rows."""
    return USAGE_PREFIX + tenant


def billed(run_id: str) -> str:
    """Return the key that says up to which one the ledger rows of this turn are published."""
    return BILLED_PREFIX + run_id
