"""The objects that the handlers of one process share, from its start to its end."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from turnwire.api.access.door import Door
from turnwire.api.access.identity import Identity
from turnwire.api.access.watch import CredentialWatch
from turnwire.api.edge.rates import Rates
from turnwire.api.edge.tails import Tails
from turnwire.api.following.feeds import Feeds
from turnwire.api.following.hub import Hub
from turnwire.api.known_revocations import KnownRevocations
from turnwire.api.pending_cancels import PendingCancels
from turnwire.api.store_gauges import StoreGauges
from turnwire.shared.askable_models import AskableModels
from turnwire.shared.callbacks import CallbackHosts
from turnwire.shared.exposition import Exposition
from turnwire.shared.key_file import Key, WatchedKeyFile
from turnwire.shared.keys import DEFAULT_POOL
from turnwire.shared.lanes import read_project_pools
from turnwire.shared.limits import Limits, limits_of
from turnwire.shared.loop_lag import watch_lag
from turnwire.shared.own_settings import OwnSettings
from turnwire.shared.settings import Settings
from turnwire.shared.store.audit import Audit
from turnwire.shared.store.callbacks import Callbacks
from turnwire.shared.store.connect import connect_data_and_queue, connect_listener, disconnect
from turnwire.shared.store.erasures import Erasures
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.revocations import Revocations
from turnwire.shared.store.sealed import turn_store
from turnwire.shared.supervision import kept_running

START_S: Final = 1.0  # a process starts even if Redis does not answer
MOST_LIMITS: Final = 4096  # the limits of so many keys are kept


class Services:
    """Holds the store, the queue and the hub. The constructor opens no connection; `running` starts and closes all."""

    def __init__(self, settings: Settings) -> None:
        """Raises:
        SettingsError: a Redis URL, the key file, the file of models or the pools of the projects cannot be read.
        """
        self.settings = settings
        self.key_file = WatchedKeyFile(settings.api_keys_file)
        self.own_settings = OwnSettings(settings, self.key_file)
        self._limits: dict[tuple[str, str], tuple[Settings, Key | None, Limits]] = {}  # by tenant and name
        self.door = Door(settings, self.key_file)
        self.models = AskableModels(settings)
        self.callback_hosts = CallbackHosts(settings)
        self.rates = Rates()
        self.tails = Tails()
        self.project_pools = read_project_pools(settings.project_pools or "")
        commands = max(settings.redis_connections - 1, 1)  # one is left for the hub's subscription
        self.redis: Any
        self.queue_redis: Any
        self.redis, self.queue_redis = connect_data_and_queue(settings, connections=commands)
        self.store = turn_store(self.redis, settings)
        self.queue = TurnQueue(self.queue_redis, settings)
        self.erasures = Erasures(self.store, self.queue)
        self.callbacks = Callbacks(self.redis, settings)
        self.audit = Audit(self.redis, settings)
        self.cancels = PendingCancels(self.store, self.queue)
        self.watch = CredentialWatch(self.door)
        self.revocations = Revocations(self.redis, settings)
        self.leaving = False  # it will drain soon, so proxies should send nothing new
        self.draining = False
        self.on_crash: Callable[[], None] = self.drain
        self._hub: Hub | None = None
        self._feeds: Feeds | None = None
        pools = frozenset({DEFAULT_POOL, *self.project_pools.values()})
        self.store_gauges = StoreGauges(settings, self.redis, self.queue_redis, pools)
        self.exposition = Exposition("api", self._gauges)

    def limits(self, identity: Identity) -> Limits:
        """Return what a request may do at most: what its tenant may, and the API key behind its credentials."""
        settings = self.own_settings.of(identity.tenant)
        key = self.key_file.content.named.get(identity.name)
        if key is not None and key.tenant != identity.tenant:
            key = None
        known = self._limits.get((identity.tenant, identity.name))
        if known is None or known[0] is not settings or known[1] is not key:
            if len(self._limits) >= MOST_LIMITS:
                self._limits.clear()
            known = self._limits[identity.tenant, identity.name] = settings, key, limits_of(settings, key)
        return known[2]

    @property
    def hub(self) -> Hub:
        """The hub, which exists only inside `running`."""
        assert self._hub is not None
        return self._hub

    @property
    def feeds(self) -> Feeds:
        """The sessions that are followed. They exist only inside `running`."""
        assert self._feeds is not None
        return self._feeds

    def _gauges(self) -> dict[str, float]:
        hub, feeds = self._hub, self._feeds
        return {
            "turnwire_draining": float(self.draining),
            "turnwire_tails": 0 if hub is None or feeds is None else hub.readers - feeds.watched + feeds.followers,
            "turnwire_followed_turns": 0 if hub is None else hub.topics,
        }

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Start everything that needs an event loop, and close it at the end of the block."""
        listener = connect_listener(self.settings.redis_url)
        try:
            async with Hub(listener, self.store, on_crash=self.on_crash) as self._hub, self._credentials_kept():
                self._feeds = Feeds(self._hub, self.store)
                self.cancels.start()
                lag = asyncio.create_task(watch_lag(), name="event loop lag")
                yield
                lag.cancel()
        finally:
            await self.store_gauges.close()
            await self.cancels.stop()
            await self.door.close()
            await disconnect(self.redis, self.queue_redis)

    @asynccontextmanager
    async def _credentials_kept(self) -> AsyncGenerator[None]:
        """Notice, during the block, which credentials are not valid any more."""
        if not self.settings.authenticates:
            yield
            return
        known = KnownRevocations(self.door.revoked, self.revocations)
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await known.read()  # otherwise a process that has just started would take revoked tokens
        self.hub.on(self.revocations.channel, known.tell)
        work = {"revoked tokens": known.run, "credentials of open streams": self.watch.run}
        tasks = [asyncio.create_task(kept_running(name, run), name=name) for name, run in work.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def drain(self) -> None:
        """Refuse new requests, and end every stream after a whole line. Its client can resume in another process."""
        self.draining = True
        if self._hub:
            self._hub.stop()
        if self._feeds:
            self._feeds.stop()
