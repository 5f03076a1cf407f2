"""`python -m worker` runs turns until it gets SIGTERM or SIGINT; then it drains. Its settings: docs/settings.md."""

import argparse
import asyncio
import os
import signal
import sys

import uvloop

from turnwire.shared.errors import SettingsError
from turnwire.shared.logs import log_to_stderr
from turnwire.shared.settings import Settings
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products
from turnwire.worker.turn.prices import Prices


async def run(settings: Settings, products: Products, prices: Prices) -> None:
    """Run one worker until it is drained.

    Raises:
        SettingsError: a Redis URL cannot be read.
    """
    worker = TurnWorker(settings, products, prices)
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, worker.drain)
    try:
        await worker.main()
    finally:
        await worker.close()


def main() -> int:
    """Read the settings and work until drained. Returns the exit status: 2 if the settings are refused."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.parse_args()
    sys.path.insert(0, os.getcwd())  # TURNWIRE_HOOKS may name a module in the caller's folder
    try:
        settings = Settings.from_env(os.environ)
        log_to_stderr(settings)
        prices = Prices.from_settings(settings)
        products = Products.from_settings(settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings, products, prices))
    except SettingsError as error:
        sys.stderr.write(f"turnwire worker: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
