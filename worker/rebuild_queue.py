"""`python -m worker rebuild-queue`: fills the queue again from the turns, when its server has lost jobs."""

import sys

from redis.exceptions import NoPermissionError

from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect_data_and_queue, disconnect
from turnwire.shared.store.erasures import Erasures
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.pool.rebuild import Rebuild

CONNECTIONS = 2


async def rebuild_queue(settings: Settings) -> int:
    """Rebuild the queue and print what was found. Returns the exit status: 1 if Redis does not answer, or refuses.

    Raises:
        SettingsError: a Redis URL cannot be read.
    """
    data, queue_redis = connect_data_and_queue(settings, connections=CONNECTIONS)
    try:
        store, queue = TurnStore(data, settings), TurnQueue(queue_redis, settings)
        rebuilt = await Rebuild(store, queue, Erasures(store, queue)).now()
    except (StoreUnavailable, NoPermissionError) as error:
        sys.stderr.write(f"turnwire worker: the queue was not rebuilt: {error}\n")
        return 1
    finally:
        await disconnect(data, queue_redis)
    print(f"{rebuilt.announced} jobs that there should be: a worker looks at each within 10 s")
    print(f"{rebuilt.published} ended turns whose ledger rows were missing: published")
    return 0
