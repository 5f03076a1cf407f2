"""Finds free ports of this machine, and probes servers on it."""

import http.client
import socket
import sys
import time
from collections import deque
from urllib.parse import urlsplit

POLL_INTERVAL_S = 0.01
HELD_PORTS = 200  # how many ports this process keeps reserved; then it releases the oldest

_held: deque[socket.socket] = deque()


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody uses at this moment.

    On Linux the port stays reserved until this process ends: the kernel gives it to nobody who asks for any port. Only
    a server that names the port, and sets SO_REUSEADDR as servers do, can listen on it. So two processes that start
    services side by side never get the same port, and a service that is started again finds its port free.
    """
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    port: int = holder.getsockname()[1]
    if sys.platform != "linux":  # on other systems, the reservation would keep the server out, too
        holder.close()
        return port
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _held.append(holder)
    if len(_held) > HELD_PORTS:
        _held.popleft().close()
    return port


def answers(url: str) -> bool:
    """Return whether `GET url` answers 200 within a second. Proxies of the environment are not used."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=1)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_http(url: str, timeout_s: float) -> None:
    """Returns once `GET url` answers 200. Raises TimeoutError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not answers(url):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{url} did not answer 200 within {timeout_s:g} s")
        time.sleep(POLL_INTERVAL_S)
