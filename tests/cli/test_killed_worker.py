"""`turnwire send` while the worker is really killed."""

import asyncio
import json
from pathlib import Path

from redis.asyncio import Redis

from stack.cluster import Stack
from tests.cli.asking import Turnwire
from tests.support.turns import KEY
from tests.support.waiting import wait_until
from turnwire.cli import talking
from turnwire.cli.following import follow

SETTINGS = {"TURNWIRE_LEASE_MS": "1000", "TURNWIRE_POLL_S": "0.5"}


async def test_a_killed_worker_is_shown_as_a_takeover_and_the_answer_is_whole(tmp_path: Path, monkeypatch):
    seen: list[str] = []

    def noted(*args, **options):
        for event in follow(*args, **options):
            yield event
            seen.append(event["type"])

    monkeypatch.setattr(talking, "follow", noted)
    with Stack(tmp_path, workers=2, env=SETTINGS) as stack:
        assert stack.redis is not None
        turnwire = Turnwire(stack.base_urls[0])
        sending = asyncio.create_task(turnwire("send", "demo", "hi"))
        await wait_until(lambda: seen.count("message.part.updated") >= 3, "some words of the answer")
        async with Redis.from_url(stack.redis.url) as redis:
            pid = int((await redis.get(KEY.lease)).split(b"/")[1])
        next(worker for worker in stack.worker if worker.pid == pid).kill()
        result = await sending
        [crashed, completed] = (await turnwire.json("show", "demo"))["attempts"]
        lost = [worker for worker in await turnwire.json("workers") if not worker["is_alive"]]
    assert result.stdout.startswith("You said: “hi”. This is the demo backend")
    assert result.stdout.count("You said") == 1
    assert "takeover: the worker died or lost its lease, and attempt 2 has taken the turn over" in result.stderr
    assert "completed · chat:demo:0 · attempt 2" in result.stderr
    assert (crashed["outcome"], completed["outcome"]) == ("crashed", "completed")
    assert lost == [], json.dumps(lost)
