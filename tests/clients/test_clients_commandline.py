"""Clients on the command line and in Python: curl, jq, httpx, httpx-sse."""

import asyncio
import json
import shutil
import subprocess
import threading
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, connect_sse

from tests.clients.reading import FIRST_HALF, IDS, TEXT, deltas, events_url, paused_turn
from tests.support.scene import Scene
from tests.support.waiting import wait_until

pytestmark = pytest.mark.clients
SELECT = 'select(.type == "message.part.updated") | .data.delta'


@pytest.fixture
def curl_and_jq() -> None:
    if not (shutil.which("curl") and shutil.which("jq")):
        pytest.skip("needs curl and jq")


@pytest.mark.usefixtures("curl_and_jq")
async def test_curl_and_jq_show_the_text_while_it_is_made(scene: Scene):
    answer, gate = await paused_turn(scene)
    pipe = f"curl -sN '{events_url(scene.stack.base_urls[0], answer)}' | jq --unbuffered -rj '{SELECT}'"
    process = await asyncio.create_subprocess_shell(pipe, stdout=subprocess.PIPE)
    assert process.stdout
    assert (await process.stdout.readexactly(len(FIRST_HALF))).decode() == FIRST_HALF
    assert await scene.status(answer) == "running"
    gate.touch()
    assert FIRST_HALF + (await process.stdout.read()).decode() == TEXT
    assert await process.wait() == 0


@pytest.mark.usefixtures("curl_and_jq")
async def test_curl_asks_a_turn_and_resumes_it(scene: Scene):
    url = scene.stack.base_urls[0]
    body = ["-H", "Content-Type: application/json", "-d", '{"message": "hi"}']  # `--json` would ask for the record
    asked = await run("curl", "-sN", f"{url}/v1/sessions/curl/turns/0", *body)
    lines = [json.loads(line) for line in asked.splitlines()]
    rest = await run("curl", "-sN", f"{url}/v1/sessions/curl/turns/0/events?after={lines[3]['id']}")
    assert [json.loads(line) for line in rest.splitlines()] == lines[4:]
    head = await run("curl", "-sN", "-H", "Accept: text/event-stream", "-H", f"Last-Event-ID: {lines[-1]['id']}",
                     "-o", "/dev/null", "-w", "%{http_code}", f"{url}/v1/sessions/curl/turns/0/events")  # fmt: skip
    assert head == "204"


async def run(*argv: str) -> str:
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout


async def test_httpx_reads_lines(scene: Scene):
    answer, gate = await paused_turn(scene)
    lines: list[dict[str, Any]] = []

    def read() -> None:
        url = events_url(scene.stack.base_urls[0], answer)
        with httpx.Client(trust_env=False) as client, client.stream("GET", url) as response:
            lines.extend(json.loads(line) for line in response.iter_lines())

    await in_halves(read, lines, gate.touch)
    assert [line["id"] for line in lines] == IDS
    assert deltas(lines) == TEXT


async def test_httpx_sse_reads_events_and_resumes(scene: Scene):
    answer, gate = await paused_turn(scene)
    url = events_url(scene.stack.base_urls[0], answer)
    events: list[ServerSentEvent] = []

    def read(**last: str) -> None:
        with httpx.Client(trust_env=False) as client, connect_sse(client, "GET", url, headers=last) as source:
            events.extend(source.iter_sse())

    await in_halves(read, events, gate.touch)
    assert [event.id for event in events] == IDS
    assert deltas([json.loads(event.data) for event in events]) == TEXT
    whole = list(events)
    events.clear()
    read(**{"Last-Event-ID": IDS[4]})
    assert [event.id for event in events] == IDS[5:]
    assert [event.data for event in events] == [event.data for event in whole[5:]]


async def in_halves(read: Any, seen: list[Any], go_on: Any) -> None:
    """Read in a thread, as a blocking program does. The turn continues once the first half has arrived."""
    thread = threading.Thread(target=read)
    thread.start()
    await wait_until(lambda: len(seen) >= 7, "the first half arrives while the turn runs")
    go_on()
    await wait_until(lambda: not thread.is_alive(), "the stream ends")
