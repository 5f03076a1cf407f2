"""Cursors and queries: what a reader may ask for, and that no bad request hangs or gets too much."""

import pytest

from tests.conformance import rawhttp
from tests.conformance.conversation import Conversation, parse, say
from tests.conformance.problem import check_problem

BAD_CURSORS = [
    "x", "1", "1-", "-1", "1-x", "a-0", "1-0-0", " 1-0", "1--1", "1-0\u0661", "$", "+", "1-*",
    "9" * 400 + "-0", f"{2**63}-0", f"0-{2**64}",
]  # fmt: skip
BAD_TAIL_QUERIES = [
    "after=1-0&after=1-1", "after=", "keepalive=x", "keepalive=-1", "keepalive=0", "keepalive=1e9", "keepalive=NaN",
    "keepalive=1&keepalive=2", "keepalive=inf",
]  # fmt: skip
BAD_WAITS = ["wait=x", "wait=-1", "wait=", "wait=1e9", "wait=999999", "wait=NaN", "wait=1&wait=2"]
BAD_PAGES = ["limit=0", "limit=-1", "limit=x", "limit=1000000", "limit=", "after=x", "after=-1", "after=1-0"]
AT_ONCE_S = 6.0  # on a loaded machine


@pytest.mark.parametrize("cursor", BAD_CURSORS)
def test_a_bad_cursor_is_refused_in_query_and_header(chat: Conversation, base_url: str, cursor: str):
    chat.ask(0)
    path = chat.path(0, "/events")
    check_problem(chat.http.get(path, params={"after": cursor}), 400, "bad_request")
    if cursor == cursor.strip():  # HTTP itself removes white space around a header's value
        response = rawhttp.request(base_url, "GET", path, [("Last-Event-ID", cursor.encode())])
        check_problem(response, 400, "bad_request")


@pytest.mark.parametrize("cursor", ["2-0", "1-6", "1-4000000000", "99-0"])
def test_a_cursor_beyond_the_end_of_a_turn_is_refused_at_once(chat: Conversation, cursor: str):
    chat.ask(0)
    response = chat.http.get(chat.path(0, "/events"), params={"after": cursor}, timeout=AT_ONCE_S)
    check_problem(response, {400, 410})


def test_a_cursor_beyond_what_a_running_turn_has_is_refused_at_once(chat: Conversation):
    hold = chat.hold("middle")
    chat.submit(0, {"play": [say("a"), {"hold": hold}]})
    chat.recorder.wait_held(hold)
    try:
        response = chat.http.get(chat.path(0, "/events"), params={"after": "1-50"}, timeout=AT_ONCE_S)
    finally:
        chat.recorder.release(hold)
    check_problem(response, {400, 410})


def test_a_cursor_before_everything_gives_everything_or_is_refused(chat: Conversation):
    lines = chat.ask(0)
    response = chat.http.get(chat.path(0, "/events"), params={"after": "0-9"})
    assert response.status_code == 400 or parse(response.content) == lines


def test_a_reader_at_the_end_of_a_finished_turn_gets_an_empty_rest_at_once(chat: Conversation):
    last = chat.ask(0)[-1]["id"]
    response = chat.http.get(chat.path(0, "/events"), params={"after": last}, timeout=AT_ONCE_S)
    assert response.status_code in {200, 204}
    assert response.content == b""


def test_after_a_retry_cursors_stay_dense_and_lead_to_the_new_attempt(chat: Conversation):
    broken = [say("a"), say("b"), {"raise": {"kind": "plain", "message": "broke"}}]
    order = {"plays": [broken, [say("c")]]}
    dead = chat.ask(0, order)
    lines = chat.ask(0, order)
    assert [line["id"].split("-")[1] for line in lines] == [str(seq) for seq in range(len(lines))]
    for place, line in enumerate(lines):
        assert chat.events(after=line["id"]) == lines[place + 1 :]
    for line in dead[1:]:  # the new attempt discarded these events, so a reader at such a cursor first gets told that
        rest = chat.events(after=line["id"])
        assert (rest[0]["type"], rest[0]["data"]["after"]) == ("session.run.resumed", lines[0]["id"])
        assert rest == lines[1:]


def test_the_query_and_the_header_mean_the_same(chat: Conversation):
    lines = chat.ask(0, {"play": [say("a"), say("b")]})
    path, cursor = chat.path(0, "/events"), lines[1]["id"]
    by_header = chat.http.get(path, headers={"Last-Event-ID": cursor})
    assert by_header.content == chat.http.get(path, params={"after": cursor}).content


@pytest.mark.parametrize("query", BAD_TAIL_QUERIES)
def test_a_bad_query_of_a_tail_is_refused(chat: Conversation, query: str):
    chat.ask(0)
    check_problem(chat.http.get(f"{chat.path(0, '/events')}?{query}"), 400, "bad_request")


@pytest.mark.parametrize("query", BAD_WAITS)
def test_a_bad_wait_is_refused(chat: Conversation, query: str):
    chat.ask(0)
    check_problem(chat.http.get(f"{chat.path(0)}?{query}"), 400, "bad_request")


@pytest.mark.parametrize("query", BAD_PAGES)
def test_a_bad_page_of_a_list_is_refused(chat: Conversation, query: str):
    chat.ask(0)
    check_problem(chat.http.get(f"{chat.turns}?{query}"), 400, "bad_request")
