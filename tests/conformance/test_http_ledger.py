"""The ledger over HTTP: a row for each attempt, sums for the session and for the tenant."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import redis

from stack.cluster import Stack
from tests.conformance.conversation import Conversation, say
from tests.conformance.problem import check_problem
from turnwire.shared.keys import LEDGER

CALL = {"use": {"model": "small", "tokens_in": 1000, "tokens_out": 100}}  # 210,000 billionths of a dollar


def ledger(chat: Conversation, index: int = 0) -> list[dict[str, Any]]:
    response = chat.http.get(chat.path(index, "/ledger"))
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json()["rows"]
    return rows


def usage(chat: Conversation) -> dict[str, Any]:
    response = chat.http.get(f"/v1/sessions/{chat.id}/usage")
    assert response.status_code == 200, response.text
    return response.json()


def published(http: httpx.Client) -> dict[str, Any]:
    return http.get("/v1/usage").json()


@pytest.fixture
def stream(ours: Stack) -> Iterator[Callable[[Conversation, int], list[str]]]:
    """Wait until this number of rows of a session is on the stream for billing. Returns their outcomes."""
    assert ours.redis is not None
    with redis.Redis.from_url(ours.redis.url) as client:

        def outcomes(chat: Conversation, count: int) -> list[str]:
            deadline = time.monotonic() + 20
            while True:
                rows = [json.loads(fields[b"row"]) for _, fields in client.xrange(LEDGER)]
                mine = [row["outcome"] for row in rows if row["session_id"] == chat.id]
                if len(mine) >= count:
                    return mine
                assert time.monotonic() < deadline, mine

        yield outcomes


def test_a_turn_says_what_it_used_and_cost(chat: Conversation, stream):
    before = published(chat.http)
    chat.ask(0, {"play": [say("hello"), CALL]}, user="u1", project="p1")
    [row] = ledger(chat)
    facts = ("run_id", "attempt", "outcome", "user", "project", "model_calls", "tokens_in", "tokens_out", "cost_nanos")
    assert [row[name] for name in facts] == [chat.run_id(0), 1, "completed", "u1", "p1", 1, 1000, 100, 210_000]
    assert (row["currency"], row["price_version"], row["model_called"]) == ("USD", "test-1", "small")
    assert 0 <= row["first_event_ms"] <= row["first_token_ms"] <= row["wall_ms"] + 50
    assert row["wall_ms"] == row["ended_at"] - row["started_at"]
    record_usage = chat.record()["usage"]
    assert record_usage["cost_nanos"] == 210_000
    assert usage(chat) == {
        "rows": 1, "model_calls": 1, "tokens_in": 1000, "tokens_out": 100, "cached_tokens": 0,
        "reasoning_tokens": 0, "cost_nanos": {"USD": 210_000},
        "rows_tokens_unknown": 0, "rows_cost_unknown": 0,
    }  # fmt: skip
    assert stream(chat, 1) == ["completed"]
    assert published(chat.http)["cost_nanos"]["USD"] - before["cost_nanos"].get("USD", 0) >= 210_000


def test_a_replay_is_free(chat: Conversation):
    chat.ask(0, {"play": [say("hello"), CALL]})
    chat.ask(0, {"play": [say("hello"), CALL]})
    assert usage(chat)["rows"] == 1


def test_what_is_unknown_is_null_and_counted_as_unknown(chat: Conversation):
    chat.ask(0, {"play": [say("a"), {"use": {"model": "other", "tokens_in": 3}}]})
    [row] = ledger(chat)
    assert (row["tokens_in"], row["tokens_out"], row["cost_nanos"]) == (3, None, None)
    sums = usage(chat)
    assert (sums["tokens_in"], sums["rows_tokens_unknown"], sums["rows_cost_unknown"], sums["cost_nanos"]) == (
        3,
        1,
        1,
        {},
    )


def test_a_failed_turn_that_is_asked_again_has_a_row_for_each(chat: Conversation):
    order = {"plays": [[CALL, {"raise": {"kind": "plain", "message": "no"}}], [CALL, say("yes")]]}
    chat.ask(0, order)
    chat.ask(0, order)
    assert [(row["attempt"], row["outcome"], row["code"]) for row in ledger(chat)] == [
        (1, "failed", "producer_error"), (2, "completed", None),
    ]  # fmt: skip
    assert usage(chat)["cost_nanos"] == {"USD": 420_000}


def test_the_row_of_a_suspended_turn_that_is_cancelled_is_published(chat: Conversation, stream):
    """The turn has no worker and no job, so the cancel itself must see to it."""
    with chat.stream(0, {"play": [CALL, say("May I?"), {"signal": "approval"}]}) as reading:
        reading.until("session.run.suspended")
        assert stream(chat, 1) == ["suspended"]
        chat.http.post(chat.path(0, "/cancel"))
        reading.rest()
    assert [row["outcome"] for row in ledger(chat)] == ["suspended", "cancelled"]
    assert stream(chat, 2) == ["suspended", "cancelled"]


def test_a_turn_that_has_not_ended_has_no_row_yet(chat: Conversation):
    hold = chat.hold("before")
    chat.submit(0, {"play": [{"hold": hold}]})
    assert ledger(chat) == []
    assert usage(chat)["rows"] == 0
    chat.recorder.wait_held(hold)
    chat.recorder.release(hold)
    chat.finished()
    assert len(ledger(chat)) == 1


def test_erasing_a_session_erases_its_rows_but_not_what_is_billed(chat: Conversation, stream):
    chat.ask(0)
    stream(chat, 1)
    chat.http.delete(f"/v1/sessions/{chat.id}")
    check_problem(chat.http.get(chat.path(0, "/ledger")), 404, "not_found")
    assert stream(chat, 1) == ["completed"]
    chat.ask(0)  # another turn with the same run id
    assert stream(chat, 2) == ["completed", "completed"]


@pytest.mark.parametrize("path", ["/v1/sessions/{id}/usage", "/v1/sessions/{id}/turns/0/ledger"])
def test_the_ledger_of_an_unknown_session_or_turn_is_not_found(chat: Conversation, path: str):
    check_problem(chat.http.get(path.format(id=chat.id)), 404, "not_found")


@pytest.mark.parametrize("path", ["/v1/sessions/a b/usage", "/v1/sessions/x/turns/01/ledger"])
def test_a_malformed_session_or_index_is_refused(http: httpx.Client, path: str):
    check_problem(http.get(path), 400, "bad_request")


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/sessions/x/usage", "/v1/sessions/x/turns/0/ledger"])
def test_the_ledger_can_only_be_read_and_only_as_json(http: httpx.Client, path: str):
    check_problem(http.post(path), 405, "method_not_allowed")
    check_problem(http.get(path, headers={"Accept": "text/html"}), 406, "not_acceptable")
