"""Every device that follows a session hears when a turn begins to wait or to run, is suspended, and ends."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from stack.cluster import Stack
from tests.conformance.conversation import Conversation, Line, Reading, say
from tests.conformance.problem import check_problem
from tests.conformance.recorder import Recorder

ENDED = "session.turn.ended"
RUNNING = "session.turn.running"


@contextmanager
def feed(chat: Conversation, **params: Any) -> Iterator[Reading]:
    with chat.http.stream("GET", f"/v1/sessions/{chat.id}/events", params=params) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].split(";")[0] == "application/x-ndjson"
        yield Reading(response)


def until(reading: Reading, index: int, status: str) -> list[Line]:
    """Return the lines up to the one that says that the turn has this status."""
    lines: list[Line] = []
    while not lines or (lines[-1]["data"]["turnIndex"], lines[-1]["data"]["status"]) != (index, status):
        raw = reading.next_raw()
        assert raw is not None, f"the feed ended before turn {index} was {status}: {lines}"
        lines.append(json.loads(raw))
    return lines


def last_of(lines: list[Line]) -> tuple[str, int, str, int, int | None]:
    data = lines[-1]["data"]
    return lines[-1]["type"], data["turnIndex"], data["status"], data["attempt"], data["parent"]


def test_two_devices_hear_of_a_turn_that_a_third_one_asks(chat: Conversation):
    chat.ask(0)
    hold = chat.hold("middle")
    with ExitStack() as open_feeds:
        devices = [open_feeds.enter_context(feed(chat)) for _ in range(2)]
        for device in devices:
            assert last_of(until(device, 0, "completed")) == (ENDED, 0, "completed", 1, -1)
        chat.submit(1, {"play": [say("a"), {"hold": hold}]})
        running = [until(device, 1, "running")[-1] for device in devices]
        assert running[0] == running[1]
        assert running[0]["data"] == {
            "turnIndex": 1, "runId": chat.run_id(1), "status": "running", "attempt": 1, "parent": 0,
            "updatedAt": chat.record(1)["updated_at"],
        }  # fmt: skip
        chat.recorder.release(hold)
        for device in devices:
            assert last_of(until(device, 1, "completed")) == (ENDED, 1, "completed", 1, 0)


def test_a_device_at_another_api_process_hears_of_it_as_soon(
    chat: Conversation, second_api: Stack, make_http: Any, recorder: Recorder
):
    chat.ask(0)
    elsewhere = Conversation(make_http(second_api.base_urls[0]), recorder, chat.id)
    hold = chat.hold("first")
    with feed(elsewhere) as device:
        until(device, 0, "completed")
        chat.submit(1, {"play": [{"hold": hold}]})
        until(device, 1, "running")
        chat.submit(2)
        assert last_of(until(device, 2, "queued")) == ("session.turn.queued", 2, "queued", 0, None)
        chat.recorder.release(hold)
        until(device, 2, "completed")


def test_a_suspended_turn_a_cancel_and_a_turn_that_is_asked_again(chat: Conversation):
    order: dict[str, Any] = {"play": [{"signal": "go"}]}
    chat.submit(0, order)
    with feed(chat) as device:
        assert last_of(until(device, 0, "suspended"))[:3] == ("session.turn.suspended", 0, "suspended")
        assert chat.http.post(chat.path(0, "/cancel")).status_code == 202
        assert last_of(until(device, 0, "cancelled"))[:3] == (ENDED, 0, "cancelled")
        chat.submit(0, order)
        assert chat.http.post(chat.path(0, "/signals/go")).status_code == 202
        assert last_of(until(device, 0, "completed"))[:3] == (ENDED, 0, "completed")


def test_a_device_that_comes_back_goes_on_at_its_cursor(chat: Conversation):
    for index in range(2):
        chat.ask(index)
    with feed(chat) as device:
        [cursor] = [line["id"] for line in until(device, 1, "completed")]
    for index in (2, 3):
        chat.ask(index)
    with feed(chat, after=cursor) as device:
        missed = until(device, 3, "completed")
    assert [line["data"]["turnIndex"] for line in missed] == [2, 3]
    headers = {"Accept": "text/event-stream", "Last-Event-ID": missed[0]["id"]}
    with chat.http.stream("GET", f"/v1/sessions/{chat.id}/events", headers=headers) as response:
        lines = response.iter_lines()
        block = [next(lines) for _ in range(4)]
    assert block[:3] == ["retry: 1000", f"id: {missed[1]['id']}", f"event: {ENDED}"]
    assert json.loads(block[3].removeprefix("data: ")) == {"type": ENDED, "data": missed[1]["data"]}


def test_the_feed_of_an_erased_session_ends(chat: Conversation):
    chat.submit(0, {"play": [say("a"), {"hold": chat.hold("never")}]})
    with feed(chat) as device:
        until(device, 0, "running")
        assert chat.http.delete(f"/v1/sessions/{chat.id}").status_code == 200
        assert all(line["type"] == ENDED for line in device.rest())
    check_problem(chat.http.get(f"/v1/sessions/{chat.id}/events"), 404, "not_found")


def test_a_silent_feed_shows_that_it_lives(chat: Conversation):
    chat.ask(0)
    with feed(chat, keepalive=1) as device:
        until(device, 0, "completed")
        assert device.next_raw() == b""


@pytest.mark.parametrize("cursor", ["1-0", "x", "1-1-1-1", "1-1-1-done"])
def test_a_cursor_that_is_none_is_refused(chat: Conversation, cursor: str):
    chat.ask(0)
    refused: httpx.Response = chat.http.get(f"/v1/sessions/{chat.id}/events", params={"after": cursor})
    check_problem(refused, 400, "bad_request")
