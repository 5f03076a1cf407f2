"""npm's `eventsource`, unchanged: it resumes by itself, and stops when the turn has ended."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.frontdoor import FrontDoor
from tests.clients.reading import IDS, TEXT, deltas, events_url, paused_turn
from tests.support.scene import Scene

pytestmark = pytest.mark.clients
SCRIPT = Path(__file__).with_name("event_source.mjs")
TYPES = [
    "session.run.started", "session.run.resumed", "message.part.updated", "result", "session.run.completed",
]  # fmt: skip


@pytest.mark.parametrize(
    "cuts",
    [[], [b"id: 1-4\n"], [b"id: 1-4\nevent: message.part.updated\ndata: {", b"id: 1-13\nevent"]],
    ids=["whole", "cut once", "cut within events"],
)
async def test_an_event_source_gets_every_event_once_and_stops(scene: Scene, node_modules: Path, cuts: list[bytes]):
    answer, gate = await paused_turn(scene)
    gate.touch()
    async with FrontDoor(scene.stack.base_urls[0]) as door:
        door.cut_at = list(cuts)
        argv = ["node", str(SCRIPT), str(node_modules), events_url(door.url, answer), *TYPES]
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
        try:
            async with asyncio.timeout(30):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    *lines, last = [json.loads(line) for line in out.splitlines()]
    assert last == {"closed": 204}
    assert [line["id"] for line in lines] == IDS
    assert deltas(lines) == TEXT
    assert not door.cut_at
    resumed = [head for head in door.requests if b"last-event-id" in head.lower()]
    assert len(resumed) == len(cuts) + 1  # after each cut, and once more at the end
