"""Ports and readiness of servers that run as processes of their own."""

import contextlib
import socket
import subprocess
import time

import httpx


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_http(process: subprocess.Popen[bytes], url: str, limit_s: float = 30.0) -> None:
    end = time.monotonic() + limit_s
    while True:
        assert process.poll() is None, "the server ended at start"
        assert time.monotonic() < end, "the server did not start"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).is_success:
                return
        time.sleep(0.02)
