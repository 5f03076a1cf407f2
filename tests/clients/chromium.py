"""Runs Chromium without a window."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 30
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
    "--remote-debugging-port=0",  # else a headless browser ends when the page is loaded
]  # fmt: skip


@contextmanager
def browser(chromium: str, profile: Path, url: str) -> Iterator[None]:
    argv = [chromium, *FLAGS, f"--user-data-dir={profile}", url]
    with subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
