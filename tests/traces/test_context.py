"""Where a span belongs: contexts of clients, trusted or not, valid or not, and spans that end in other tasks."""

import asyncio

import pytest
from opentelemetry import trace

from tests.traces.memory import Kept, id_of, parent_of, traced
from turnwire.shared.tracing import TraceContext, TurnTrace, inside, tracing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CLIENT = TraceContext(f"00-{TRACE}-{SPAN}-01", "vendor=abc")


@pytest.fixture
def kept():
    with traced() as kept:
        yield kept


def served(kept: Kept, client: TraceContext | None, *, trusted: bool):
    kept.tracer.serve("GET", {}, client, trusted=trusted).end()
    return kept.one("GET")


def test_the_span_of_a_request_is_a_part_of_the_client_s(kept):
    span = served(kept, CLIENT, trusted=True)
    assert (f"{span.context.trace_id:032x}", f"{parent_of(span):016x}") == (TRACE, SPAN)
    assert span.context.trace_state.to_header() == "vendor=abc"


def test_a_client_that_is_not_trusted_is_linked(kept):
    span = served(kept, CLIENT, trusted=False)
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" != TRACE
    assert [f"{link.context.span_id:016x}" for link in span.links] == [SPAN]


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("client", [None, TraceContext("00-broken-01"), TraceContext("ff" + CLIENT.traceparent[2:])])
def test_what_is_not_valid_is_ignored(kept, client, trusted):
    span = served(kept, client, trusted=trusted)
    assert (span.parent, list(span.links)) == (None, [])


def test_attempts_of_a_turn_without_a_trace_share_one_that_follows_from_the_turn(kept):
    turn = TurnTrace("chat:s:0/1700", None)
    for attempt in (1, 2):
        after = attempt - 1 or None
        tracing.of_turn(turn, "turn", "consumer", {}, attempt=attempt, after=after).end()
    first, second = kept.spans
    assert first.context.trace_id == second.context.trace_id
    [link] = second.links
    assert (link.context.span_id, link.context.trace_id) == (id_of(first), first.context.trace_id)
    assert TurnTrace("chat:s:1/1700", None) != turn


async def test_a_generator_that_is_closed_in_another_task_leaves_no_context_behind(kept):
    async def events():
        span = tracing.begin("step", {})
        with inside(span):
            yield 1

    generator = events()
    await asyncio.create_task(anext(generator))
    before = trace.get_current_span()
    await asyncio.create_task(generator.aclose())
    assert trace.get_current_span() is before
    assert [event.name for event in kept.one("step").events] == ["cancelled"]
