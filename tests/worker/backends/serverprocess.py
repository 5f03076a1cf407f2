"""Readiness of servers that run as processes of their own."""

import contextlib
import subprocess
import time

import httpx


def wait_for_http(process: subprocess.Popen[bytes], url: str, limit_s: float = 30.0) -> None:
    end = time.monotonic() + limit_s
    while True:
        assert process.poll() is None, "the server ended at start"
        assert time.monotonic() < end, "the server did not start"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).is_success:
                return
        time.sleep(0.02)
