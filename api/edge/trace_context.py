"""Reads the trace context that a client sends: the headers `traceparent` and `tracestate` of W3C Trace Context."""

import re
from typing import Final

from starlette.datastructures import Headers

from turnwire.api.edge.requests import joined
from turnwire.shared.tracing import TRACEPARENT, TraceContext

_TRACESTATE: Final = re.compile(r"[\x20-\x7e]{1,512}\Z")


def trace_context(headers: Headers) -> TraceContext | None:
    """Return the client's context, or None. What is not valid is ignored, as the standard demands."""
    parents = headers.getlist("traceparent")
    if len(parents) != 1 or not TRACEPARENT.match(parents[0]):
        return None
    state = joined(headers, "tracestate")
    return TraceContext(parents[0], state if state and _TRACESTATE.match(state) else None)
