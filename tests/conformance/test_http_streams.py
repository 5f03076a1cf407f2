"""Streams arrive while the turn runs, end at the terminal event, and are the same for all readers."""

import json
import socket
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conformance import rawhttp, serversent
from tests.conformance.conversation import DELTA, Conversation, bare, delta, parse, say, text, types
from tests.conformance.problem import check_problem

SSE = {"Accept": "text/event-stream"}
KEEPALIVE = {"keepalive": "1"}


def test_the_first_lines_arrive_while_the_turn_still_runs(chat: Conversation):
    hold = chat.hold("middle")
    with chat.stream(0, {"play": [say("first"), {"hold": hold}, say("last")]}) as reading:
        assert text(reading.until(DELTA)) == "first"
        chat.recorder.wait_held(hold)
        assert chat.record()["status"] == "running"
        chat.recorder.release(hold)
        assert text(reading.rest()) == "last"


def test_every_delta_arrives_before_the_next_one_is_made(chat: Conversation):
    holds = [chat.hold(str(number)) for number in range(5)]
    play = [action for hold in holds for action in (say(hold), {"hold": hold})]
    with chat.stream(0, {"play": play}) as reading:
        for hold in holds:
            assert text(reading.until(DELTA)) == hold
            chat.recorder.release(hold)
        assert types(reading.rest())[-1] == "session.run.completed"


def test_readers_that_come_at_different_times_see_identical_lines(chat: Conversation):
    first, second = chat.hold("first"), chat.hold("second")
    play = [say("a"), {"hold": first}, say("b"), {"hold": second}, say("c")]
    with ExitStack() as open_streams:
        readings = [open_streams.enter_context(chat.stream(0, {"play": play}))]
        before = [readings[0].until(DELTA)]
        readings += [open_streams.enter_context(chat.follow(0)), open_streams.enter_context(chat.stream(0))]
        before += [[], []]
        chat.recorder.release(first)
        chat.recorder.wait_held(second)
        readings.append(open_streams.enter_context(chat.follow(0)))
        before.append([])
        chat.recorder.release(second)
        seen = [start + reading.rest() for start, reading in zip(before, readings, strict=True)]
    assert all(lines == seen[0] for lines in seen)
    assert seen[0] == chat.events()


def test_a_long_answer_has_dense_cursors_live_and_later(chat: Conversation):
    count = 3000
    live = chat.ask(0, {"play": [{"count": count}], "quiet": True})
    assert [line["id"] for line in live] == [f"1-{seq}" for seq in range(count + 3)]
    assert text(live) == "".join(f"{number} " for number in range(count))
    assert chat.events() == live
    for place in (1, 99, 100, 101, 999, 1000, 2500):
        assert chat.events(after=live[place]["id"]) == live[place + 1 :]


def test_a_reader_that_leaves_and_returns_again_and_again_misses_and_repeats_nothing(chat: Conversation):
    holds = [chat.hold(str(number)) for number in range(4)]
    chat.submit(0, {"play": [action for hold in holds for action in (say(hold), {"hold": hold})]})
    lines: list[dict[str, Any]] = []
    for hold in holds:
        cursor = {"after": lines[-1]["id"]} if lines else {}
        with chat.follow(0, **cursor) as reading:
            lines += reading.until(DELTA)
        chat.recorder.release(hold)
    lines += chat.events(after=lines[-1]["id"])
    assert lines == chat.events()


def test_server_sent_events_carry_the_same_ids_types_and_data(chat: Conversation):
    response = chat.post(0, {"play": [say("a"), say("b")]}, SSE)
    feed = serversent.read(response.content)
    lines = chat.events()
    assert feed.retry_ms is not None
    assert [(event.id, event.type) for event in feed.events] == [(line["id"], line["type"]) for line in lines]
    assert [event.data for event in feed.events] == bare(lines)
    assert serversent.read(chat.http.get(chat.path(0, "/events"), headers=SSE).content) == feed


def test_events_without_names_reach_every_listener_of_an_event_source(chat: Conversation):
    response = chat.http.post(f"{chat.path(0)}?sse=data", json=chat.body({"play": [say("a")]}), headers=SSE)
    lines = chat.events()
    for body in (response.content, chat.http.get(chat.path(0, "/events"), params={"sse": "data"}, headers=SSE).content):
        assert b"event:" not in body
        feed = serversent.read(body)
        assert [event.id for event in feed.events] == [line["id"] for line in lines]
        assert [event.data for event in feed.events] == bare(lines)
    replay = chat.http.post(f"{chat.path(0)}?sse=data", json=chat.body({"play": [say("a")]}), headers=SSE).content
    assert b"event:" not in replay
    assert len(serversent.read(replay).events) == 3
    last = {**SSE, "Last-Event-ID": lines[-1]["id"]}
    assert chat.http.get(chat.path(0, "/events"), params={"sse": "data"}, headers=last).status_code == 204
    check_problem(chat.http.get(chat.path(0, "/events"), params={"sse": "x"}, headers=SSE), 400, "bad_request")


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_no_character_of_a_text_is_the_end_of_a_line_to_a_client(chat: Conversation, separator: str):
    """Python's `str.splitlines`, which httpx uses, also splits at these three characters."""
    said = f"{separator}a{separator}é “b”{separator}"
    order = {"play": [say(said), {"event": {"type": f"t{separator}", "data": {separator: separator}}}]}
    lines = chat.ask(0, order)
    assert text(lines) == said
    for response in (
        chat.post(0, order),  # the replay
        chat.http.get(chat.path(0, "/events")),
    ):
        assert [json.loads(line) for line in response.text.splitlines()] == parse(response.content)
    for params in ({}, {"sse": "data"}):
        response = chat.http.get(chat.path(0, "/events"), params=params, headers=SSE)
        assert response.text.splitlines() == response.text.removesuffix("\n").split("\n")


@pytest.mark.parametrize("forged", ["a\nid: 9-9", "x\r\n\r\ndata: {}", "\u2028data: 1", "\x00", '"', "\\", "a: b"])
def test_no_event_type_or_text_can_break_the_framing(chat: Conversation, forged: str):
    odd = {"type": forged, "data": {"k\n": forged, "delta": forged}}
    chat.ask(0, {"play": [{"event": odd}, say(forged)]})
    lines = chat.events()
    assert bare(lines)[1:3] == [odd, delta(forged)]
    feed = serversent.read(chat.http.get(chat.path(0, "/events"), headers=SSE).content)
    assert [event.id for event in feed.events] == [line["id"] for line in lines]
    assert [event.data for event in feed.events] == bare(lines)


def test_an_event_source_resumes_after_its_last_id_and_stops_with_204(chat: Conversation):
    lines = chat.ask(0, {"play": [say("a"), say("b")]})
    path = chat.path(0, "/events")
    resumed = chat.http.get(path, headers={**SSE, "Last-Event-ID": lines[2]["id"]})
    assert [event.id for event in serversent.read(resumed.content).events] == [line["id"] for line in lines[3:]]
    ended = chat.http.get(path, headers={**SSE, "Last-Event-ID": lines[-1]["id"]})
    assert (ended.status_code, ended.content) == (204, b"")


def test_signs_of_life_come_only_when_they_are_asked_for(chat: Conversation):
    hold, path = chat.hold("silent"), chat.path(0, "/events")
    chat.submit(0, {"play": [{"hold": hold}, say("a")]})
    chat.recorder.wait_held(hold)
    with ExitStack() as open_streams:
        asking = open_streams.enter_context(chat.follow(0, **KEEPALIVE))
        quiet = open_streams.enter_context(chat.follow(0))
        events = open_streams.enter_context(chat.http.stream("GET", path, params=KEEPALIVE, headers=SSE))
        assert json.loads(asking.next_raw() or b"")["type"] == "session.run.started"
        assert asking.next_raw() == b""  # a blank line, because nothing happened for a second
        chunks = events.iter_raw()
        head = b""
        while b"\n: " not in head and b"\n:\n" not in head:
            head += next(chunks)
        chat.recorder.release(hold)
        assert types(quiet.rest()) == ["session.run.started", DELTA, "result", "session.run.completed"]
        assert serversent.read(head + b"".join(chunks)).comments > 0


def test_a_producer_that_yields_no_event_fails_its_turn_with_a_typed_code(chat: Conversation):
    no_events: list[Any] = ["text", 7, None, {"data": {}}, {"type": 1}, {"type": ""}, {"type": "x", "data": []}]
    for index, wrong in enumerate(no_events):
        lines = chat.ask(index, {"play": [say("a"), {"event": wrong}]})
        assert types(lines)[-2:] == ["error", "session.run.failed"]
        assert lines[-1]["data"]["code"] == "invalid_event"


def test_a_gzip_client_still_gets_every_line_at_once(chat: Conversation):
    hold = chat.hold("middle")
    with chat.stream(0, {"play": [say("a"), {"hold": hold}]}) as reading:
        assert "gzip" in reading.response.request.headers["accept-encoding"]
        assert "content-encoding" not in reading.response.headers
        reading.until(DELTA)
        chat.recorder.release(hold)


def test_many_readers_of_one_turn_all_get_everything(chat: Conversation):
    hold = chat.hold("start")
    chat.submit(0, {"play": [{"hold": hold}, {"count": 200}], "quiet": True})
    chat.recorder.wait_held(hold)
    with ExitStack() as open_streams:
        readings = [open_streams.enter_context(chat.follow(0)) for _ in range(30)]
        chat.recorder.release(hold)
        seen = [reading.rest() for reading in readings]
    assert all(lines == seen[0] for lines in seen)
    assert len(seen[0]) == 203


def test_a_stream_is_http_1_1_chunked_and_its_connection_is_used_again(base_url: str, chat: Conversation):
    with httpx.Client(base_url=base_url, limits=httpx.Limits(max_connections=1), trust_env=False, timeout=20) as client:
        client.headers.update(chat.http.headers)
        response = client.post(chat.path(0), json=chat.body())
        assert response.headers["transfer-encoding"] == "chunked"
        assert client.get(chat.path(0)).json()["status"] == "completed"


def test_a_client_of_version_1_0_reads_bare_lines_until_the_connection_ends(chat: Conversation, base_url: str):
    hold = chat.hold("middle")
    head = "POST {} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
    body = rawhttp.json_bytes(chat.body({"play": [say("a"), {"hold": hold}, say("b")]}))
    parts = urlsplit(base_url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=rawhttp.TIMEOUT_S) as connection:
        connection.sendall(head.format(chat.path(0), len(body)).encode() + body)
        received = connection.recv(65_536)
        chat.recorder.release(hold)
        while data := connection.recv(65_536):
            received += data
    headers, _, lines = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in headers.lower()
    assert parse(lines) == chat.events()
    replayed = rawhttp.send(base_url, head.format(chat.path(0), len(body)).encode() + body)
    assert "transfer-encoding" not in replayed.headers
