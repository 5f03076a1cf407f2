"""A primary, two replicas and three Sentinels of our own, for tests of failovers."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from stack.process import Service, free_port, stop_all
from stack.redis_server import RedisServer, find_server

SERVICE = "main"
START_LIMIT_S = 30.0
FAILOVER_LIMIT_S = 60.0  # a failover may have to be ordered more than once
STOP_LIMIT_S = 5.0
PAUSE_S = 0.05
# A primary that is silent for so long is replaced. After each failover, Sentinel waits for up to a second before it
# connects to the new primary. A shorter time would make it replace that one at once, and lose its last writes.
DOWN_AFTER_MS = 2000
CONFIG = """port {port}
bind 127.0.0.1
dir {directory}
sentinel monitor {service} 127.0.0.1 {primary} 2
sentinel down-after-milliseconds {service} {down_after_ms}
sentinel failover-timeout {service} 6000
sentinel parallel-syncs {service} 2
"""


class SentinelGroup:
    """A context manager around the six processes. `url` names the Sentinels and stays the same over failovers."""

    def __init__(self, directory: Path, *, replicas: int = 2) -> None:
        self.servers = [RedisServer(directory / f"redis{number}", port=0) for number in range(1 + replicas)]
        self._directory = directory
        self.sentinels: list[Service] = []
        self._ports: list[int] = []

    @property
    def url(self) -> str:
        """The `redis+sentinel://` URL of the group; known once `start` has returned."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self._ports)}/{SERVICE}"

    def start(self) -> Self:
        """Returns when all replicas are in step, and every Sentinel knows the replicas and the other Sentinels."""
        primary, *replicas = self.servers
        for server in self.servers:
            server.start()
        for replica in replicas:
            with client_of(replica) as redis:
                redis.replicaof("127.0.0.1", port_of(primary))
        for number in range(3):
            self._ports.append(free_port())
            directory = self._directory / f"sentinel{number}"
            directory.mkdir(parents=True)
            config = directory / "sentinel.conf"
            config.write_text(
                CONFIG.format(
                    port=self._ports[-1], directory=directory, service=SERVICE,
                    primary=port_of(primary), down_after_ms=DOWN_AFTER_MS,
                )
            )  # fmt: skip
            argv = [*find_server(), str(config), "--sentinel"]
            self.sentinels.append(Service(f"sentinel{number}", argv, dict(os.environ), directory / "log").start())
        self.wait_whole()
        return self

    def _knows_all(self, port: int) -> bool:
        told = self._told(port)
        return (
            int(told["num-slaves"]) == len(self.servers) - 1
            and int(told["num-other-sentinels"]) == len(self._ports) - 1
            and told["flags"] == "master"
        )

    def _told(self, port: int) -> dict[str, str]:
        with Redis(port=port, socket_timeout=2, decode_responses=True) as sentinel:
            reply: Any = sentinel.execute_command("SENTINEL", "MASTER", SERVICE)
            return dict(zip(reply[::2], reply[1::2], strict=True))

    @property
    def primary(self) -> RedisServer:
        """The server that most Sentinels name."""
        ports = [self._told(port)["port"] for port in self._ports]
        port = max(set(ports), key=ports.count)
        return next(server for server in self.servers if str(port_of(server)) == port)

    def fail_over(self, *, coordinated: bool = False) -> int:
        """Order a failover, and wait until it is over. `coordinated`: no write is lost, which needs Valkey 9.

        Sentinel may give up a failover that has begun. Then it is ordered again, as an operator would do.

        Returns: how often it was ordered.
        """
        before, orders = self.primary, 0
        command = ["SENTINEL", "FAILOVER", SERVICE, *(["COORDINATED"] if coordinated else [])]

        def over() -> bool:
            nonlocal orders
            told = self._told(self._ports[0])
            if "failover_in_progress" in told["flags"] or told["port"] != str(port_of(before)):
                return self._switched(before)
            with Redis(port=self._ports[0], socket_timeout=5) as sentinel:
                sentinel.execute_command(*command)
            orders += 1
            return False

        _wait(over, "another primary that was ordered", FAILOVER_LIMIT_S)
        return orders

    def wait_switched(self, before: RedisServer) -> None:
        """Wait until all Sentinels name another primary, and that server has the role of a primary."""
        _wait(lambda: self._switched(before), "another primary")

    def _switched(self, before: RedisServer) -> bool:
        ports = {self._told(port)["port"] for port in self._ports}
        if len(ports) != 1 or str(port_of(before)) in ports:
            return False
        with client_of(self.primary) as redis:
            return bool(redis.role()[0] in {b"master", "master"})

    def wait_whole(self) -> None:
        """Wait until all other servers replicate the primary again, so that the next failover can begin."""
        _wait(self._whole, "replicas in step")

    def is_whole(self) -> bool:
        """Return whether all other servers replicate the primary now."""
        try:
            return self._whole()
        except (RedisError, OSError):
            return False

    def _whole(self) -> bool:
        with client_of(self.primary) as redis:
            role: Any = redis.role()
            return len(role[2]) == len(self.servers) - 1 and all(self._knows_all(port) for port in self._ports)

    def stop(self) -> None:
        """Stop all processes."""
        stop_all(self.sentinels, STOP_LIMIT_S)
        for server in self.servers:
            server.resume()
            server.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def port_of(server: RedisServer) -> int:
    """Return the TCP port of a server."""
    return int(server.url.rpartition(":")[2].partition("/")[0])


def client_of(server: RedisServer) -> Redis:
    """Return a client of one server, whatever the server's role is."""
    return Redis(port=port_of(server), socket_timeout=2)


def _wait(condition: Callable[[], bool], description: str, limit_s: float = START_LIMIT_S) -> None:
    deadline_s = time.monotonic() + limit_s
    while True:
        try:
            if condition():
                return
        except (RedisError, OSError):
            pass  # a server is still starting, or cannot answer this yet
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited {limit_s:g} s for {description}")
        time.sleep(PAUSE_S)
