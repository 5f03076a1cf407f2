"""Serves arq's own command line: `arq --check turnwire.worker.arq_check.WorkerSettings` tells whether a worker runs.

arq reads a class, so this module reads the environment when it is imported. No other module of Turnwire does that.
"""

import os

from arq.connections import RedisSettings
from arq.worker import func

from turnwire.shared.settings import Settings
from turnwire.shared.store.queue import RUN_TURN
from turnwire.worker.pool.turn_worker import run_turn


class WorkerSettings:
    """The settings with which arq finds the health key of our queue."""

    functions = [func(run_turn, name=RUN_TURN)]  # noqa: RUF012 - arq reads a plain class
    redis_settings = RedisSettings.from_dsn(Settings.from_env(os.environ).queue_url)
