"""A job before it is on the queue: the keys and the arguments with which a script puts it there."""

from typing import Final

import msgspec

from turnwire.shared import keys
from turnwire.shared.lanes import DEFAULT_LANE, Lane
from turnwire.shared.store.job_bytes import new_job
from turnwire.shared.store.queue_open import billed_key
from turnwire.shared.store.queue_workers import SWEEP_MS
from turnwire.shared.store.scripts import Arg

JOB_TTL_MS: Final = 86_400_000  # as arq sets it; the sweep enqueues a turn again whose job has expired
WEIGHT_MS: Final = 3_600_000  # how long a tenant's weight counts after the last enqueue that gave it
NO_JOB: Final[tuple[Arg, ...]] = ("",) * 8


class PlannedJob(msgspec.Struct, frozen=True):
    """What the scripts `enqueue` and `submit` get. `names`: of the keys in parts/job.lua. `args`: from `bytes` on."""

    names: list[str]
    args: list[Arg]


def planned_job(function: str, job_id: str, max_queued: int, lane: Lane, weight: float | None) -> PlannedJob:
    """Plan a job.

    Args:
        function: the name of arq's function.
        job_id: of the job.
        max_queued: how many jobs may wait, so that this one may be put behind them.
        lane: of the job.
        weight: how many turns its tenant may run while another one runs one; None: the caller does not know it.
    """
    tenant, pool = keys.tenant_of(job_id), lane.pool
    names = [
        keys.OPEN_TURNS, keys.QUEUE, keys.hints(pool), keys.job(job_id), keys.in_progress(job_id), billed_key(job_id),
        *keys.line(lane.name, tenant), keys.AGEING_PREFIX + pool, keys.LANE_PREFIX + job_id,
        keys.WEIGHT_PREFIX + tenant, keys.RESERVING, keys.NEWCOMERS_PREFIX + pool, keys.CALLBACKS, keys.LISTED,
    ]  # fmt: skip
    args: list[Arg] = [
        new_job(function, job_id), JOB_TTL_MS, max_queued, SWEEP_MS, "" if lane == DEFAULT_LANE else lane.name,
        int(lane.priority == "batch"), "" if weight is None else repr(weight), WEIGHT_MS,
    ]  # fmt: skip
    return PlannedJob(names, args)
