"""Looks at an API process and its Redis from outside: connections, subscriptions, descriptors, memory, reads."""

import os
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from arq.connections import ArqRedis

from stack.cluster import Stack
from tests.support.turns import append, delta, request
from tests.support.waiting import LIMIT_S, wait_until
from turnwire.shared.events import encode_event
from turnwire.shared.keys import SessionKey, TurnKey, session_key
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Claimed
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.turns import TurnStore

STALL_S = 1.0  # the setting of the API process that cuts off stalled clients early
QUIET_S = 0.3
LISTENING: Final = "0A"  # the state in /proc/net/tcp
PAGE_KIB = resource.getpagesize() // 1024


class Observed:
    """An async context manager around running processes, with a Redis client of its own."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.url = stack.base_urls[0]

    async def __aenter__(self) -> Self:
        assert self.stack.redis is not None
        self.redis: ArqRedis = connect(self.stack.redis.url, connections=1)
        self.store = TurnStore(self.redis, Settings(redis_url=self.stack.redis.url))
        await wait_until(lambda: not self.clients(), "the probes and readers of earlier times are gone")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.redis.aclose(close_connection_pool=True)

    async def turn(self, name: str) -> "RunningTurn":
        """Start a turn, and write its first event."""
        key = session_key(name).turn(0)
        await self.store.submit(key, request())
        claimed = await self.store.claim(key, "host/1/aaaaaa")
        assert isinstance(claimed, Claimed), claimed
        return RunningTurn(self.store, claimed)

    async def connections(self) -> int:
        """Return how many connections the Redis has, without the observer's own."""
        return len(await self.redis.client_list()) - 1

    async def subscriptions(self) -> int:
        """Return how many channels anybody listens to, from Redis' own list of its clients."""
        return sum(int(client["sub"]) for client in await self.redis.client_list())

    async def reads(self) -> int:
        """Return how often a log was read so far."""
        commands: dict[str, Any] = await self.redis.info("commandstats")
        return int(commands.get("cmdstat_xrange", {"calls": 0})["calls"])

    def descriptors(self) -> int:
        """Return how many files and sockets the API process has open, without those to Redis, whose pool may grow."""
        to_redis = {f"socket:[{line.split()[6]}]" for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
        return sum(name not in to_redis for name in self._open())

    def clients(self) -> int:
        """Return how many connections of clients the API process has open."""
        port = f":{urlsplit(self.url).port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        accepted = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(port) and row[3] != LISTENING}
        return sum(name in accepted for name in self._open())

    def _open(self) -> list[str]:
        """Return the targets of the API process' file descriptors, in the words of the kernel."""
        names = []
        for descriptor in Path(f"/proc/{self.stack.api[0].pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed in the meantime
                names.append(str(descriptor.readlink()))
        return names

    def memory_mib(self) -> float:
        """Return the resident memory of the process, in MiB."""
        pages = int(Path(f"/proc/{self.stack.api[0].pid}/statm").read_text().split()[1])
        return pages * PAGE_KIB / 1024

    def processor_s(self) -> float:
        """The processor time that it has used so far."""
        fields = Path(f"/proc/{self.stack.api[0].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # in user and in system mode

    async def quiet(self) -> None:
        """Wait until no log is read any more, because every reader waits for its client or for an event."""
        last, since_s = -1, 0.0

        async def unchanged() -> bool:
            nonlocal last, since_s
            if (reads := await self.reads()) != last:
                last, since_s = reads, time.monotonic()
            return time.monotonic() - since_s > QUIET_S

        await wait_until(unchanged, "the readers come to rest", 20)

    async def left(self, descriptors: int, *, subscriptions: int = 0, limit_s: float = LIMIT_S) -> None:
        """Wait until no more is open than this, so that everything of the readers that left is freed."""
        await wait_until(lambda: self.descriptors() <= descriptors, "their sockets are closed", limit_s)

        async def freed() -> bool:
            return await self.subscriptions() == subscriptions

        await wait_until(freed, "their subscriptions are gone", limit_s)


class RunningTurn:
    """A turn whose log the test writes as a worker would."""

    def __init__(self, store: TurnStore, claimed: Claimed) -> None:
        self._store = store
        self._claimed = claimed
        self._seq = claimed.next_seq

    @property
    def key(self) -> TurnKey:
        return self._claimed.key

    @property
    def session(self) -> SessionKey:
        return self._claimed.key.session

    @property
    def events(self) -> str:
        """The path of the turn's events."""
        return f"/v1/sessions/{self.session.session}/turns/{self.key.index}/events"

    async def say(self, *texts: str) -> None:
        """Append a delta for each text, in one publication."""
        await append(self._store, self._claimed, self._seq, *(delta(text) for text in texts))
        self._seq += len(texts)

    async def end(self) -> None:
        data = {"sessionId": self.session.session, "replayed": False, "persisted": True}
        events = [encode_event("session.run.completed", data)]
        await self._store.settle(self._claimed, TurnState.COMPLETED, self._seq, events, {"final_text": "x"})
