"""The script of docs/protocol.md, in a browser on a page of another origin, and in node.

It goes on with new credentials at its cursor when the old ones have ended in the middle of a stream.
"""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx
import pytest

from stack.cluster import ROOT, Stack
from stack.network import free_port
from tests.clients.chromium import START_S, browser
from tests.clients.frontdoor import FrontDoor
from tests.clients.reading import IDS, TEXT, deltas
from tests.support.key_file import key_block, write_key_file
from tests.support.scene import SETTINGS
from tests.support.waiting import wait_until

pytestmark = pytest.mark.clients
OLD: Final = "tw_the-old-one"
NEW: Final = "tw_the-new-one"
PATH: Final = "/v1/sessions/tokens/turns/0"
[SCRIPT] = [
    block for block in re.findall(r"```js\n(.*?)```", (ROOT / "docs/protocol.md").read_text(), re.DOTALL)
    if "newToken" in block
]  # fmt: skip
PAGE: Final = """<!doctype html><meta charset="utf-8"><script type="module">
%s
const query = new URLSearchParams(location.search)
const keys = query.getAll('key')
let told = Promise.resolve()
const tell = (text) => { told = told.then(() => fetch('/heard', { method: 'POST', body: text })) }
follow(query.get('turn'), (event) => tell(JSON.stringify(event)), async () => keys.shift()).then(() => tell('end'))
</script>"""
PROGRAM: Final = """%s
const [turn, ...keys] = process.argv.slice(2)
await follow(turn, (event) => console.log(JSON.stringify(event)), async () => keys.shift())
"""


class Guarded:
    """A service that asks for keys, a door before it that breaks connections, and a turn that waits in its middle."""

    def __init__(self, stack: Stack, door: FrontDoor, keys: Path, gate: Path) -> None:
        self.turn = door.url + PATH
        self._stack, self._door, self._keys, self._gate = stack, door, keys, gate

    async def ask(self) -> None:
        """Ask the turn, with the old key."""
        metadata = {"events": 12, "gate": {"6": str(self._gate)}}
        headers = {"Authorization": f"Bearer {OLD}", "Prefer": "respond-async"}
        async with httpx.AsyncClient(base_url=self._stack.base_urls[0], trust_env=False) as http:
            asked = await http.post(PATH, json={"message": "hi", "metadata": metadata}, headers=headers)
        assert asked.status_code == 202

    async def end_the_old_key(self) -> None:
        """Replace it. The stream that began with it ends soon, and the turn goes on when there is another one."""
        write_key_file(self._keys, key_block("new", NEW, "acme", ["turns"]))
        async with httpx.AsyncClient(base_url=self._stack.base_urls[0], trust_env=False) as http:

            async def refused() -> bool:
                response = await http.get(PATH, headers={"Authorization": f"Bearer {OLD}"})
                return response.status_code == 401

            await wait_until(refused, "the old key ends")
        await wait_until(lambda: any(NEW.encode() in head for head in self._door.requests), "the new key is used")
        self._gate.touch()

    def check(self, events: list[dict]) -> None:
        """The reader has every event once, over two connections and a refusal between them."""
        [last_words] = [event for event in events if event["type"] == "session.stream.ended"]
        assert last_words["data"]["code"] == "credentials_withdrawn"
        events = [event for event in events if event is not last_words]
        assert [event["id"] for event in events] == IDS
        assert deltas(events) == TEXT
        used = [re.findall(rb"Bearer (\S+)", head, re.IGNORECASE) for head in self._door.requests]
        assert [key for found in used for key in found] == [OLD.encode(), OLD.encode(), NEW.encode()]


@asynccontextmanager
async def guarded(directory: Path, origin: str) -> AsyncIterator[Guarded]:
    keys = write_key_file(directory / "keys.toml", key_block("old", OLD, "acme", ["turns"]))
    env = SETTINGS | {
        "TURNWIRE_API_KEYS_FILE": str(keys),
        "TURNWIRE_CORS_ORIGINS": origin,
        "CHAOS_LEDGER": str(directory / "ledger"),
    }
    with Stack(directory, workers=1, env=env) as stack:
        async with FrontDoor(stack.base_urls[0]) as door:
            service = Guarded(stack, door, keys, directory / "gate")
            await service.ask()
            yield service


async def test_node_goes_on_with_a_new_key(tmp_path: Path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    program = tmp_path / "follow.mjs"
    program.write_text(PROGRAM % SCRIPT, encoding="utf-8")
    async with guarded(tmp_path, "https://app.example.com") as service:
        argv = [node, str(program), service.turn, OLD, NEW]
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        assert process.stdout
        events = [json.loads(await process.stdout.readline()) for _ in range(7)]
        await service.end_the_old_key()
        events += [json.loads(line) for line in (await process.stdout.read()).splitlines()]
        assert await process.wait() == 0
        service.check(events)


@pytest.mark.timeout(180)
async def test_a_page_of_another_origin_goes_on_with_a_new_key(chromium: str, tmp_path: Path):
    port = free_port()
    async with (
        guarded(tmp_path, f"http://127.0.0.1:{port}") as service,
        FrontDoor("http://127.0.0.1:1", PAGE % SCRIPT, port) as site,
    ):
        query = urlencode({"turn": service.turn, "key": [OLD, NEW]}, doseq=True)
        with browser(chromium, tmp_path / "profile", f"{site.url}/page?{query}"):
            await wait_until(lambda: len(site.heard) == 7, "the first half, while the turn runs", START_S)
            await service.end_the_old_key()
            await wait_until(lambda: site.heard[-1] == "end", "the end", START_S)
        service.check([json.loads(text) for text in site.heard[:-1]])
