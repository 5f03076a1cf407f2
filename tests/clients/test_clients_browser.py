"""A browser: its fetch and its own EventSource, on a page of the same origin."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.clients.frontdoor import FrontDoor
from tests.clients.reading import IDS, TEXT, deltas, paused_turn
from tests.support.scene import Scene
from tests.support.waiting import wait_until

pytestmark = pytest.mark.clients
PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
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


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("way", "cuts"), [("fetch", []), ("source", [b"id: 1-4\nevent: mess", b"id: 1-9\n"])])
async def test_a_browser_follows_a_turn_while_it_runs(
    scene: Scene, chromium: str, tmp_path: Path, way: str, cuts: list[bytes]
):
    answer, gate = await paused_turn(scene)
    async with FrontDoor(scene.stack.base_urls[0], PAGE) as door:
        door.cut_at = list(cuts)
        query = urlencode({"way": way, "url": f"{answer.path}/events"})
        with browser(chromium, tmp_path / "profile", f"{door.url}/page?{query}"):
            await wait_until(lambda: len(door.heard) == 7, "the first half, while the turn runs", START_S)
            assert await scene.status(answer) == "running"
            gate.touch()
            await wait_until(lambda: door.heard[-1] == "end", "the end", START_S)
    lines = [json.loads(text) for text in door.heard[:-1]]
    assert [line["id"] for line in lines] == IDS
    assert deltas(lines) == TEXT
    assert not door.cut_at
