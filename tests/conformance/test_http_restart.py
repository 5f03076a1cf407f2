"""When an API process ends, its streams end between two lines, and their clients continue at another one."""

import httpx

from stack.cluster import Stack
from tests.conformance import serversent
from tests.conformance.conversation import DELTA, Conversation, say, text, types

STOP_S = 4.0  # less than the grace that uvicorn gives a client that does not read


def test_sigterm_ends_streams_at_a_whole_line_and_the_client_resumes_elsewhere(
    chat: Conversation, recorder, make_http, second_api: Stack
):
    hold = chat.hold("middle")
    elsewhere = Conversation(make_http(second_api.base_urls[0]), recorder, chat.id)
    with elsewhere.stream(0, {"play": [say("a"), {"hold": hold}, say("b")]}) as reading:
        lines = reading.until(DELTA)
        second_api.api[0].terminate()
        assert reading.rest() == []  # `rest` checks that no line was cut
    second_api.api[0].wait(STOP_S)
    assert chat.record()["status"] == "running"
    with chat.follow(0, after=lines[-1]["id"]) as resumed:
        chat.recorder.release(hold)
        lines += resumed.rest()
    assert types(lines)[-1] == "session.run.completed"
    assert text(lines) == "ab"
    assert lines == chat.events()
    assert len(chat.recorder.calls(chat.run_id(0), "produce")) == 1


def test_sigterm_ends_server_sent_events_and_waiters_too(chat: Conversation, recorder, make_http, second_api: Stack):
    hold = chat.hold("middle")
    http: httpx.Client = make_http(second_api.base_urls[0])
    chat.submit(0, {"play": [say("a"), {"hold": hold}]})
    chat.recorder.wait_held(hold)
    with http.stream("GET", chat.path(0, "/events"), headers={"Accept": "text/event-stream"}) as response:
        chunks = response.iter_raw()
        body = b""
        while DELTA.encode() not in body:
            body += next(chunks)
        second_api.api[0].terminate()
        feed = serversent.read(body + b"".join(chunks))
    assert [event.type for event in feed.events] == ["session.run.started", DELTA]
    second_api.api[0].wait(STOP_S)
    chat.recorder.release(hold)
    assert chat.finished()["status"] == "completed"
