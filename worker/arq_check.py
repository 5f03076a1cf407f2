"""For arq's own command line: `arq --check worker.arq_check.WorkerSettings` says whether a worker runs.

arq reads a class, so the environment is read at import; nothing else of Turnwire does that.
"""

import os

from arq.connections import RedisSettings
from arq.worker import func

from turnwire.shared.settings import Settings
from turnwire.shared.store.queue import RUN_TURN
from turnwire.worker.pool.turn_worker import run_turn


class WorkerSettings:
    """What arq needs to find our queue's health key."""

    functions = [func(run_turn, name=RUN_TURN)]  # noqa: RUF012 - arq reads a plain class
    redis_settings = RedisSettings.from_dsn(Settings.from_env(os.environ).queue_url)
