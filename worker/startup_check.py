"""`python -m worker --check` does everything that comes before taking turns, says what it found, and exits.

It imports the hooks, but does not call their `startup`, because that may change something of the product's.
"""

import asyncio
from collections.abc import Mapping

from turnwire.shared.codec import codec_of
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect_data_and_queue, disconnect
from turnwire.shared.store.startup_check import redis_lines, say_checked, settings_line
from turnwire.worker.pool.callback_outbox import sender_of
from turnwire.worker.products import Products
from turnwire.worker.turn.prices import Prices


def check(settings: Settings, environ: Mapping[str, str]) -> int:
    """Load what the settings name, and ask Redis. Returns the exit status: 1 if Redis does not answer.

    Raises:
        SettingsError: a setting, or what it names, cannot be used.
    """
    return asyncio.run(_check(settings, environ))


async def _check(settings: Settings, environ: Mapping[str, str]) -> int:
    Prices.from_settings(settings)
    products = Products.from_settings(settings)
    codec_of(settings)
    sender_of(settings)
    served = products.projects
    found = [
        settings_line(environ),
        f"hooks: {products.names()}",
        f"projects: {'all' if served is None else ', '.join(served)}; pools: {settings.pools}",
        f"slots: {settings.max_jobs}; lease: {settings.lease_ms} ms; drain: {settings.drain_s:g} s",
    ]
    say_checked("worker", found, environ)
    data, queue = connect_data_and_queue(settings, connections=1)
    try:
        lines = await redis_lines(settings, data, queue)
    except StoreUnavailable as error:
        say_checked("worker", [f"not ready: {error}"], environ)
        return 1
    finally:
        await disconnect(data, queue)
        await products.aclose()
    say_checked("worker", [*lines, "ready to start"], environ)
    return 0
