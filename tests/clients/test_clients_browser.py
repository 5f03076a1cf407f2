"""A browser reads a turn with fetch and with its own EventSource, on a page of the same origin."""

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.clients.chromium import START_S, browser
from tests.clients.frontdoor import FrontDoor
from tests.clients.reading import IDS, TEXT, deltas, paused_turn
from tests.support.markdown import blocks
from tests.support.scene import Scene
from tests.support.waiting import wait_until

pytestmark = pytest.mark.clients
PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
FOLLOW = """<!doctype html><script type="module">
%s
let told = Promise.resolve()
const tell = (text) => { told = told.then(() => fetch('/heard', { method: 'POST', body: text })) }
follow(new URLSearchParams(location.search).get('turn'), (event) => tell(JSON.stringify(event)))
</script>"""


def snippet() -> str:
    """Return the code of docs/protocol.md that follows a turn with an EventSource."""
    [code] = [block.text for block in blocks("js") if "new EventSource" in block.text]
    return code


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


@pytest.mark.timeout(180)
async def test_the_event_source_of_the_documentation_resumes_and_stops(scene: Scene, chromium: str, tmp_path: Path):
    answer, gate = await paused_turn(scene)
    async with FrontDoor(scene.stack.base_urls[0], FOLLOW % snippet()) as door:
        door.cut_at = [b"id: 1-4\n"]
        query = urlencode({"turn": answer.path})
        with browser(chromium, tmp_path / "profile", f"{door.url}/page?{query}"):
            await wait_until(lambda: len(door.heard) == 7, "the first half, over two connections", START_S)
            gate.touch()
            await wait_until(lambda: "session.run.completed" in door.heard[-1], "the end", START_S)
            events = [json.loads(text) for text in door.heard]
    assert [event["type"] for event in events].count("session.run.started") == 1
    assert deltas([{"type": event["type"], "data": event["data"]} for event in events]) == TEXT
    assert not door.cut_at
