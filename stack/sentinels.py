"""A Redis that fails over: a primary and its replicas, and three sentinels that watch them. Real processes."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from redis import Redis
from redis.exceptions import RedisError

from stack.process import Service, free_port, stop_all
from stack.redis_server import RedisServer, find_server

SERVICE: Final = "turnwire"  # the name under which the sentinels know the primary
SENTINELS: Final = 3
QUORUM: Final = 2
DOWN_AFTER_MS: Final = 1000
START_LIMIT_S: Final = 30.0
STOP_LIMIT_S: Final = 10.0


class Sentinels:
    """A context manager. `servers` are one primary and its replicas; which one it is changes with every failover."""

    def __init__(self, directory: Path, *, replicas: int = 1, aof: bool = True) -> None:
        """Nothing is started yet.

        Args:
            directory: for the data and the logs of all processes.
            replicas: how many servers beside the primary.
            aof: the servers keep append-only files.
        """
        self.servers = [RedisServer(directory / f"redis{n}", aof=aof, port=0) for n in range(1 + replicas)]
        self.sentinels: list[Service] = []
        self._directory = directory
        self._ports: list[int] = []

    @property
    def url(self) -> str:
        """`redis+sentinel://…/turnwire`; known once it runs."""
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """The URL of one of the 16 databases."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"redis+sentinel://{hosts}/{SERVICE}/{database}"

    def start(self) -> Self:
        """Returns when every replica follows the primary, and every sentinel knows all the others."""
        try:
            for server in self.servers:
                server.start()
            first = port_of(self.servers[0])
            for server in self.servers[1:]:
                command(port_of(server), "REPLICAOF", "127.0.0.1", first)
            self._ports = [free_port() for _ in range(SENTINELS)]
            self.sentinels = [self._sentinel(number, first) for number in range(SENTINELS)]
            for service in self.sentinels:
                service.start()
            for port, service in zip(self._ports, self.sentinels, strict=True):
                service.wait_until(partial(self._knows_all, port), START_LIMIT_S)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End all processes."""
        stop_all(self.sentinels, STOP_LIMIT_S)
        for server in self.servers:
            server.stop()

    def primary(self) -> RedisServer:
        """The server that the sentinels name. It may be dead, or be replaced in this moment."""
        for port in self._ports:
            with suppress(RedisError):
                _, named = command(port, "SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)
                return next(server for server in self.servers if port_of(server) == int(named))
        raise ConnectionError("no sentinel answers")

    def failover(self) -> None:
        """Ask for a failover, though the primary lives: a replica becomes the primary within seconds."""
        for port in self._ports:
            with suppress(RedisError):
                command(port, "SENTINEL FAILOVER", SERVICE)
                return

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _sentinel(self, number: int, primary_port: int) -> Service:
        directory = self._directory / f"sentinel{number}"
        directory.mkdir(parents=True, exist_ok=True)
        settings = directory / "sentinel.conf"
        settings.write_text(
            f"port {self._ports[number]}\nbind 127.0.0.1\ndir {directory.absolute()}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary_port} {QUORUM}\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 6000\n"
        )
        argv = [*find_server(), str(settings), "--sentinel"]
        return Service(f"sentinel{number}", argv, {}, directory / "sentinel.log")

    def _knows_all(self, port: int) -> bool:
        with suppress(RedisError):
            facts = command(port, "SENTINEL MASTER", SERVICE)
            known = (int(facts["num-other-sentinels"]), int(facts["num-slaves"]))
            return known == (SENTINELS - 1, len(self.servers) - 1) and facts["flags"] == "master"
        return False


def port_of(server: RedisServer) -> int:
    """The TCP port of a server."""
    return int(server.url_of(0).rpartition(":")[2].partition("/")[0])


def command(port: int, *words: object) -> Any:
    """One command to the server on this port.

    Raises:
        RedisError: it cannot be reached, or it answered with an error.
    """
    client = Redis(port=port, socket_timeout=2, socket_connect_timeout=2, decode_responses=True)
    with client:
        return client.execute_command(*words)  # type: ignore[no-untyped-call]
