"""The turn that every client reads. It pauses in the middle, so that a live stream can be told from a late one."""

from pathlib import Path
from typing import Any

from chaos.client import Answer
from chaos.verify import answer_text
from tests.support.scene import Scene
from tests.support.waiting import wait_until

EVENTS = 12
PAUSE = 6  # how many deltas come before the pause
TEXT = answer_text(1, EVENTS)
FIRST_HALF = answer_text(1, PAUSE)
IDS = [f"1-{seq}" for seq in range(EVENTS + 3)]  # started, the deltas, result, completed


async def paused_turn(scene: Scene) -> tuple[Answer, Path]:
    """Ask a turn, and wait for its first half. It continues once the file exists."""
    gate = scene.gate()
    answer = scene.turn(events=EVENTS, gate={str(PAUSE): str(gate)})
    await scene.submit(answer)

    async def said() -> bool:
        return bool((await scene.client.record(answer))["status"] == "running")

    await wait_until(said, "the turn runs")
    return answer, gate


def events_url(base_url: str, answer: Answer) -> str:
    return f"{base_url}{answer.path}/events"


def deltas(lines: list[dict[str, Any]]) -> str:
    return "".join(line["data"]["delta"] for line in lines if line["type"] == "message.part.updated")
