"""A producer's events: checked once at the boundary, then forwarded as they are."""

from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from tests.support.product import text
from turnwire import ChatStreamEvent, Turn
from turnwire.shared.errors import ProducerError, TurnFailure
from turnwire.shared.model import TurnError
from turnwire.worker.attempt.produce import Forwarder, Produced
from turnwire.worker.turn.accumulator import TextAccumulator

LIMIT = 200


@pytest.fixture
def forwarder():
    return Forwarder(cast("Turn", SimpleNamespace(run_id="chat:demo:0")), LIMIT, TextAccumulator())


def test_c1_an_event_is_forwarded_unchanged(forwarder):
    event = {"type": "tool.call", "data": {"z": 1, "a": ["é", None, 1.5], "n": {"b": True}}}
    assert msgspec.json.decode(forwarder.take(event)) == event
    assert forwarder.take(ChatStreamEvent("x", {"k": 1})) == b'{"type":"x","data":{"k":1}}'


def test_an_event_without_data_has_an_empty_object(forwarder):
    assert forwarder.take({"type": "ping"}) == b'{"type":"ping","data":{}}'
    assert forwarder.take({"type": "ping", "data": None}) == b'{"type":"ping","data":{}}'


@pytest.mark.parametrize(
    "event",
    [None, "text", 5, b"{}", [], {}, {"data": {}}, {"type": ""}, {"type": None}, {"type": 5}, {"type": "x", "data": []},
     {"type": "x", "data": "text"}, ("x", {})],
)  # fmt: skip
def test_what_is_no_event_is_refused(forwarder, event):
    with pytest.raises(ProducerError) as refused:
        forwarder.take(event)
    assert refused.value.code == "invalid_event"


@pytest.mark.parametrize("event", [{"type": "text", "text": "hello"}, {"type": "x", "data": None, "delta": "hello"}])
def test_an_event_whose_payload_is_not_in_its_data_is_refused_and_not_forwarded_empty(forwarder, event):
    with pytest.raises(ProducerError, match=r"must have its payload in `data`; this one has '(text|delta)'") as refused:
        forwarder.take(event)
    assert refused.value.code == "invalid_event"


def test_an_answer_that_is_empty_although_there_were_events_is_in_the_log(forwarder, caplog):
    forwarder.take({"type": "token", "data": {"text": "hello"}})
    forwarder.take({"type": "done"})
    assert forwarder.produced(None) == Produced("")
    assert "chat:demo:0: the answer is empty, because no event has text; types: done, token" in caplog.text


def test_an_answer_that_is_empty_in_its_own_words_is_not_in_the_log(forwarder, caplog):
    forwarder.take({"type": "result", "data": {"finalText": ""}})
    assert forwarder.produced(None) == Produced("")
    assert not caplog.records


def recursive() -> dict:
    data: dict = {}
    data["self"] = data
    return data


@pytest.mark.parametrize("data", [{"x": object()}, {"x": {1, 2}.__iter__()}, {"x": "\ud800"}, recursive()])
def test_w17_an_event_that_json_has_no_form_for_is_refused(forwarder, data):
    with pytest.raises(ProducerError) as refused:
        forwarder.take({"type": "x", "data": data})
    assert refused.value.code == "invalid_event"


def test_an_event_may_be_as_large_as_the_limit_and_no_larger(forwarder):
    overhead = len(b'{"type":"x","data":{"t":""}}')
    assert forwarder.take({"type": "x", "data": {"t": "a" * (LIMIT - overhead)}})
    with pytest.raises(TurnFailure) as refused:
        forwarder.take({"type": "x", "data": {"t": "a" * (LIMIT - overhead + 1)}})
    assert refused.value.code == "event_too_large"
    assert not refused.value.retryable


@pytest.mark.parametrize("event_type", ["session.run.completed", "session.run.started", "session.run.x"])
def test_c85_turnwires_own_events_are_withheld(forwarder, event_type):
    assert forwarder.take({"type": event_type, "data": {}}) is None
    assert forwarder.produced(None) == Produced("")


def test_c84_an_in_band_error_is_forwarded_and_fails_the_turn_after_its_text(forwarder):
    forwarder.take(text("half"))
    assert forwarder.take({"type": "error", "data": {"message": "no", "code": "oops", "retryable": True}})
    assert forwarder.produced(None) == Produced("half", TurnError("oops", "no", retryable=True), error_shown=True)


def test_c84_a_producers_failed_event_is_withheld_and_fails_the_turn(forwarder):
    assert forwarder.take({"type": "session.run.failed", "data": {"message": "no"}}) is None
    assert forwarder.produced(None) == Produced("", TurnError("producer_error", "no", retryable=False))


def test_c84_the_first_error_counts_and_a_handled_tool_error_is_none(forwarder):
    forwarder.take({"type": "tool.error", "data": {"message": "handled"}})
    assert forwarder.produced(None).error is None
    forwarder.take({"type": "error", "data": {"message": "first"}})
    forwarder.take({"type": "session.run.failed", "data": {"message": "second"}})
    assert forwarder.produced(None).error.message == "first"


@pytest.mark.parametrize("data", [{}, {"message": 5, "code": 7, "retryable": "yes"}, {"message": "", "code": ""}])
def test_a_malformed_error_event_still_fails_the_turn_with_words(forwarder, data):
    forwarder.take({"type": "error", "data": data})
    error = forwarder.produced(None).error
    assert (error.code, error.retryable) == ("producer_error", False)
    assert error.message


@pytest.mark.parametrize(("final_text", "answer"), [("own", "own"), ("", "joined"), (None, "joined"), (5, "joined")])
def test_c4_the_producers_own_final_text_wins_if_there_is_any(forwarder, final_text, answer):
    forwarder.take(text("joined"))
    assert forwarder.produced(final_text).text == answer


def test_a_result_is_noticed(forwarder):
    assert not forwarder.has_result
    forwarder.take({"type": "result", "data": {"finalText": "x"}})
    assert forwarder.has_result
