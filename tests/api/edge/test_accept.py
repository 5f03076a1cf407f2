"""Which form a client gets."""

import pytest

from turnwire.api.edge import accept
from turnwire.api.edge.accept import choose, wants_async
from turnwire.api.edge.problems import NotAcceptable

NDJSON, SSE, JSON = OFFERS = ["application/x-ndjson", "text/event-stream", "application/json"]


@pytest.mark.parametrize(
    ("wanted", "form"),
    [
        (None, NDJSON),
        ("", NDJSON),
        ("*/*", NDJSON),
        ("text/event-stream", SSE),
        ("TEXT/Event-Stream ; charset=utf-8", SSE),
        ("application/json", JSON),
        ("application/json;q=0.5, text/event-stream;q=0.4", JSON),
        ("application/json, application/x-ndjson", NDJSON),
        ("application/*", NDJSON),
        ("text/*", SSE),
        ("*/*, application/x-ndjson;q=0", SSE),
        ("application/x-ndjson;q=0.1, */*;q=0.2", SSE),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", NDJSON),
        ("application/json;q=1, text/event-stream;q=nonsense", JSON),
    ],
)
def test_the_best_offer_wins(wanted: str | None, form: str):
    assert choose(wanted, OFFERS) == form


@pytest.mark.parametrize("wanted", ["image/png", "application/json;q=0", "*/*;q=0", "text/html;q=1", "json", ";"])
def test_nothing_that_fits_is_refused(wanted: str):
    with pytest.raises(NotAcceptable):
        choose(wanted, OFFERS)


def test_long_headers_of_strangers_fill_no_memory():
    kept = accept._kept_choice.cache_info().currsize
    for number in range(10):
        assert choose(f"text/x-{number}, " * 100 + "application/json", OFFERS) == JSON
    assert accept._kept_choice.cache_info().currsize == kept


@pytest.mark.parametrize(
    ("prefer", "wanted"),
    [(None, False), ("", False), ("respond-async", True), ("wait=5, Respond-Async; x=1", True), ("respond", False)],
)
def test_prefer(prefer: str | None, wanted: bool):
    assert wants_async(prefer) == wanted
