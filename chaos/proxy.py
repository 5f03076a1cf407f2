"""A TCP proxy in front of Redis, as a process: `python -m chaos.proxy PORT TARGET`. SIGUSR1 resets every connection.

A reset (RST) is not an ordinary end of a connection. Who reads gets an error at once, and bytes on their way are lost.
TARGET is the path of a unix socket, or HOST:PORT.
"""

import asyncio
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stack.cluster import ROOT, bare_environment
from stack.process import Service, free_port, stop_all

RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s


START_LIMIT_S = 20.0
STOP_LIMIT_S = 5.0


@contextmanager
def running_proxy(directory: Path, redis_url: str) -> Iterator[tuple[Service, str]]:
    """Run the proxy. Yields its process, and the URL under which it offers Redis."""
    port = free_port()
    target = redis_url.partition("://")[2].partition("?")[0].removesuffix("/0")
    argv = [sys.executable, "-m", "chaos.proxy", str(port), target]
    service = Service("proxy", argv, bare_environment(), directory / "proxy.log", cwd=ROOT).start()
    try:
        service.wait_until(lambda: "proxy ready" in service.log(since_start=True), START_LIMIT_S)
        yield service, f"redis://127.0.0.1:{port}/0"
    finally:
        stop_all([service], STOP_LIMIT_S)


class Proxy:
    """Forwards bytes in both directions."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()

    def reset(self) -> None:
        """Reset the connections of every client."""
        for writer in self._writers:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of a client."""
        self._writers.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            up_reader, upstream = await self._connect()
            await asyncio.wait(
                {
                    asyncio.create_task(_pump(reader, upstream)),
                    asyncio.create_task(_pump(up_reader, writer)),
                },
                return_when=asyncio.FIRST_COMPLETED,
            )
        except OSError:
            pass  # Redis is away: the client sees its connection end
        finally:
            self._writers.discard(writer)
            for each in (writer, upstream):
                if each:
                    each.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, colon, port = self._target.rpartition(":")
        if colon:
            return await asyncio.open_connection(host, int(port))
        return await asyncio.open_unix_connection(self._target)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()  # so that the other direction ends, too


async def main(port: int, target: str) -> None:
    """Serve until the process is ended."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, proxy.reset)
    print("proxy ready", flush=True)  # the process that started the proxy waits for this line
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
