"""A browser has six connections to a host of HTTP/1.1. Over HTTP/2, all its streams share one, as curl shows here."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.clients.proxies import SITE, Proxied
from tests.clients.reading import FIRST_HALF, TEXT, deltas
from tests.support.waiting import wait_until

pytestmark = pytest.mark.clients
STREAMS: Final = 20


@pytest.fixture
def curl() -> str:
    path = shutil.which("curl")
    if path is None or b"HTTP2" not in subprocess.run([path, "--version"], capture_output=True, check=True).stdout:
        pytest.skip("needs curl with HTTP/2")
    return path


async def test_twenty_live_streams_share_one_connection(proxied: Proxied, curl: str, tmp_path: Path):
    scene, gate = proxied.scene, proxied.scene.gate()
    answers = [scene.turn(events=12, gate={"6": str(gate)}) for _ in range(STREAMS)]
    await scene.submit(*answers)
    files = [tmp_path / f"stream-{number}" for number in range(STREAMS)]
    asked: list[str] = []
    for answer, file in zip(answers, files, strict=True):
        url = f"https://{SITE}:{proxied.port}{answer.path}/events"
        asked += ["--next"] * bool(asked) + [
            *["--http2", "--silent", "--insecure", "--no-buffer", "--noproxy", "*"],
            *["--resolve", f"{SITE}:{proxied.port}:127.0.0.1", "--output", str(file)],
            *["--write-out", "%{http_version} %{num_connects}\n", url],
        ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        curl, "--parallel", "--parallel-max", str(STREAMS), *asked, stdout=subprocess.PIPE
    )

    def said(file: Path) -> str:
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return deltas([json.loads(line) for line in lines if line.endswith("\n")])

    await wait_until(lambda: all(said(file) == FIRST_HALF for file in files), "the first half of every stream")
    gate.touch()
    assert process.stdout
    told = (await process.stdout.read()).decode().split()
    assert await process.wait() == 0
    assert [said(file) for file in files] == [TEXT] * STREAMS
    assert set(told[::2]) == {"2"}
    assert sum(map(int, told[1::2])) == 1  # connections
