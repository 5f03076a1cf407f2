"""`turnwire tail SESSION` shows the turns of a session as they come, whoever asks them."""

import asyncio
import json
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.cli.asking import Turnwire, worker_of
from tests.support.product import Scripted, text
from tests.support.turns import SESSION
from tests.support.waiting import wait_until
from turnwire.cli import session_tail
from turnwire.cli.following import follow_session
from turnwire.cli.summary import summary
from turnwire.worker.turn.turn import Turn


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The changes that the command has been told of."""
    changes: list[dict[str, Any]] = []

    def noted(*args: Any, **options: Any) -> Any:
        for change in follow_session(*args, **options):
            changes.append(change["data"])
            yield change

    monkeypatch.setattr(session_tail, "follow_session", noted)
    return changes


def has_ended(told: list[dict[str, Any]], index: int) -> bool:
    return any(turn["turnIndex"] == index and turn["status"] == "completed" for turn in told)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statuses of the turns that the command has shown to their ends."""
    statuses: list[str] = []

    def noted(record: dict[str, Any]) -> str:
        statuses.append(record["status"])
        return summary(record)

    monkeypatch.setattr(session_tail, "summary", noted)
    return statuses


async def post(turnwire: Turnwire, path: str, body: dict[str, Any]) -> None:
    """Ask as another client does. Two commands at a time would share one stdout."""
    async with httpx.AsyncClient(base_url=turnwire.env["TURNWIRE_URL"], trust_env=False) as http:
        answer = await http.post(f"/v1/sessions/demo/{path}", json=body, headers={"Prefer": "respond-async"})
        assert answer.status_code == 202, answer.text


async def test_each_turn_that_anybody_asks_is_shown(
    turnwire: Turnwire, settings, store, told: list[dict[str, Any]], shown: list[str]
):
    async with worker_of(settings, Scripted(text("an answer"))):
        await turnwire("send", "demo", "the first")
        following = asyncio.create_task(turnwire("tail", "demo", "--retry-for", "5", code=1))
        await wait_until(lambda: has_ended(told, 0), "the latest turn")
        for message in ("the second", "the third"):
            await post(turnwire, "turns", {"message": message})
        await wait_until(lambda: shown.count("completed") == 3, "all three to be shown")
        await store.erase(SESSION)
        result = await following
    assert result.stdout == "an answer\n" * 3
    for index, message in enumerate(("the first", "the second", "the third")):
        assert f"turn {index}: {message}" in result.stderr
        assert f"completed · chat:demo:{index} · attempt 1" in result.stderr
    assert "no such session" in result.stderr


class Asking(Scripted):
    """A turn whose message is "ask" waits for a signal in the middle of its answer."""

    async def produce(self, turn: Turn) -> AsyncGenerator[Any]:
        if turn.message != "ask":
            yield text("another answer")
            return
        yield text("before, ")
        await turn.signal("go")
        yield text("and after")


async def test_a_suspended_turn_makes_room_for_others_and_goes_on_later(
    turnwire: Turnwire, settings, store, told: list[dict[str, Any]], shown: list[str]
):
    async with worker_of(settings, Asking()):
        await turnwire("send", "demo", "ask", "--detach")
        following = asyncio.create_task(turnwire("tail", "demo", "--retry-for", "5", code=1))
        await wait_until(lambda: any(turn["status"] == "suspended" for turn in told), "it is suspended")
        await post(turnwire, "turns", {"message": "hi", "parent": -1})
        await wait_until(lambda: shown.count("completed") == 1, "the turn beside it")
        await post(turnwire, "turns/0/signals/go", {})
        await wait_until(lambda: shown.count("completed") == 2, "its end")
        await store.erase(SESSION)
        result = await following
    assert result.stdout == "another answer\nbefore, and after\n"
    assert result.stderr.count("turn 0: ask") == 1


def test_a_turn_that_went_on_before_anybody_heard_of_it_is_shown_to_its_end(monkeypatch: pytest.MonkeyPatch, capsys):
    def event(id_: str, kind: str, **data: Any) -> dict[str, Any]:
        return {"id": id_, "type": kind, "data": data}

    log = [
        event("1-0", "session.run.started"),
        event("1-1", "session.run.suspended", key="go"),
        event("2-2", "session.run.resumed", attempt=2, after="1-1", reason="signal"),
        event("2-3", "message.part.updated", part={"type": "text"}, delta="the end"),
        event("2-4", "session.run.completed"),
    ]
    record = {"message": "hi", "run_id": "chat:demo:0", "status": "completed", "attempt": 2, "final_text": "the end"}
    monkeypatch.setattr(session_tail, "follow", lambda *_, after, **__: iter(log if after is None else log[2:]))
    monkeypatch.setattr(session_tail, "summary", lambda record: f"shown: {record['status']}")
    api: Any = SimpleNamespace(get=lambda _: record)
    session_tail._Shown(api, "demo", 5).take({"turnIndex": 0, "attempt": 2, "status": "completed"})
    shown = capsys.readouterr()
    assert (shown.out, "shown: completed" in shown.err) == ("the end\n", True)


async def test_changes_as_json(turnwire: Turnwire, settings, store, told: list[dict[str, Any]]):
    async with worker_of(settings, Scripted(text("an answer"))):
        await turnwire("send", "demo", "hi")
        following = asyncio.create_task(turnwire("tail", "demo", "--json", "--retry-for", "5", code=1))
        await wait_until(lambda: has_ended(told, 0), "the turn")
        await store.erase(SESSION)
        [change] = [json.loads(line) for line in (await following).stdout.splitlines()]
    assert (change["type"], change["data"]["runId"]) == ("session.turn.ended", "chat:demo:0")
    refused = await turnwire("tail", "demo", "--cancel-on-interrupt", code=2)
    assert "give its index" in refused.stderr
