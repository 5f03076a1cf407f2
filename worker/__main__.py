"""`python -m worker` runs turns until it gets SIGTERM or SIGINT; then it drains. Its settings: docs/settings.md."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

import uvloop

from turnwire.shared.errors import SettingsError
from turnwire.shared.garbage import spare_what_is_there
from turnwire.shared.logs import log_to_stderr, without_secrets
from turnwire.shared.settings import Settings
from turnwire.shared.tracing import tracing
from turnwire.worker.leaving import Leaving
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products, StartupError
from turnwire.worker.rebuild_queue import rebuild_queue
from turnwire.worker.startup_check import check
from turnwire.worker.turn.given_up import given_up
from turnwire.worker.turn.prices import Prices

EXITS: Final = (
    "Exit status: 0 after a stop in order, 1 after a fault that a new process may mend, 2 if settings are refused."
)
FAULT: Final = 1  # exit status: a supervisor should start a new process
LEAVE_S: Final = 5.0  # for what a product registered with `atexit`, and its threads
GIVEN_UP_S: Final = 0.5  # the same, if calls that were given up still run: these would hold the exit for ever


async def run(settings: Settings, products: Products, prices: Prices) -> int:
    """Run one worker until it is drained. Returns the exit status.

    Raises:
        SettingsError: a Redis URL cannot be read.
        StartupError: a product could not start.
    """
    worker = TurnWorker(settings, products, prices)
    leaving = Leaving()
    _drain_on_signals(worker, leaving)
    status = FAULT
    try:
        await worker.main()
        status = FAULT if worker.has_to_be_replaced else 0
    finally:
        await worker.close()
        tracing.close()
        leaving.within(GIVEN_UP_S if given_up.count else LEAVE_S, status)
    return status


def _drain_on_signals(worker: TurnWorker, leaving: Leaving) -> None:
    loop = asyncio.get_running_loop()

    def drain() -> None:
        leaving.within(worker.longest_stop_s, FAULT)
        worker.drain()

    worker.on_drain = drain

    def stop(*_: object) -> None:  # unlike a handler of the event loop, it runs also while product code blocks the loop
        loop.call_soon_threadsafe(worker.drain)
        leaving.within(worker.longest_stop_s, FAULT)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)


def main(args: Sequence[str] | None = None) -> int:
    """Read the settings and work until drained. `args`: of the command line; None: those of this process.

    Returns: the exit status: 0 after a stop in order or a rebuilt queue, 2 if the settings are refused, and 1 after a
        fault that only a new process can mend, if a product could not start, or if the queue was not rebuilt.
    """
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__, epilog=EXITS)
    parser.add_argument("--check", action="store_true", help="only check the settings, what they name, and Redis")
    parser.add_argument(
        "command", nargs="?", choices=["rebuild-queue"],
        help="rebuild-queue: read all turns, and put back what the server of the queue has lost of them",
    )  # fmt: skip
    options = parser.parse_args(args)
    sys.path.insert(0, os.getcwd())  # TURNWIRE_HOOKS may name a module in the caller's folder
    try:
        settings = Settings.from_env(os.environ)
        if options.check:
            return check(settings, os.environ)
        log_to_stderr(settings)
        if options.command is not None:
            return asyncio.run(rebuild_queue(settings))
        tracing.start("turnwire-worker", os.environ)  # before the product is imported, which may make spans, too
        prices = Prices.from_settings(settings)
        products = Products.from_settings(settings)
        spare_what_is_there()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run(settings, products, prices))
    except (SettingsError, StartupError) as error:
        sys.stderr.write(without_secrets(f"turnwire worker: {error}\n", os.environ))
        return 2 if isinstance(error, SettingsError) else FAULT


if __name__ == "__main__":
    sys.exit(main())
