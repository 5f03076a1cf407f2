"""A browser reads a turn with fetch and with its own EventSource, on a page of the same origin."""

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.clients.chromium import START_S, browser
from tests.clients.frontdoor import FrontDoor
from tests.clients.reading import IDS, TEXT, deltas, paused_turn
from tests.support.scene import Scene
from tests.support.waiting import wait_until

pytestmark = pytest.mark.clients
PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")


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
