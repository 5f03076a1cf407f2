"""Makes spans with the SDK of OpenTelemetry, and sends them to a collector by OTLP over HTTP.

The variables of OpenTelemetry (`OTEL_…`) say where to, how many, and which. A collector that is away or never answers
costs spans, and nothing else: they wait in a buffer of limited size, and a thread of its own sends them.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import unquote

from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from turnwire import __version__
from turnwire.shared import logs
from turnwire.shared.tracing import ERROR_TYPE, TRACEPARENT, Attributes, Kind, Span, TraceContext, TurnTrace

CLOSE_S: Final = 2.0  # a process that stops sends for so long what is left
LOG_EVERY_S: Final = 60.0
# These tell of a collector that is away, and of spans that were dropped for that reason.
_NOISY: Final = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.trace.export",
)
_KINDS: Final[Mapping[Kind, SpanKind]] = {kind.name.lower(): kind for kind in SpanKind}  # type: ignore[misc]

logger = logging.getLogger(__name__)

_given_ids: Final[ContextVar[tuple[int | None, int | None]]] = ContextVar("turnwire_span_ids", default=(None, None))


def otel_tracer(service: str, environ: Mapping[str, str]) -> "OtelTracer":
    """Return the tracer of this process, whose provider also gets the spans of the product.

    If a provider is installed already, for example by `opentelemetry-instrument`, the spans go there.
    """
    installed = trace.get_tracer_provider()
    if isinstance(installed, TracerProvider):
        return OtelTracer(installed, closes=False)
    provider = _provider(service, environ)
    trace.set_tracer_provider(provider)
    return OtelTracer(provider)


class OtelTracer:
    """See Tracer. `closes`: whether `close` closes the provider."""

    def __init__(self, provider: TracerProvider, *, closes: bool = True) -> None:
        self._provider = provider
        self._closes = closes
        provider.id_generator = _Ids(provider.id_generator)  # type: ignore[assignment]  # it takes any
        self._tracer = provider.get_tracer("turnwire", __version__)

    def begin(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        """See Tracer."""
        return _OtelSpan(self._tracer.start_span(name, kind=_KINDS[kind], attributes=attributes))

    def serve(self, name: str, attributes: Attributes, client: TraceContext | None, *, trusted: bool) -> Span:
        """See Tracer."""
        theirs = _context_of(client)
        links = [] if trusted else _links(trace.get_current_span(theirs).get_span_context())
        under = theirs if trusted else Context()
        return _OtelSpan(self._tracer.start_span(name, under, SpanKind.SERVER, attributes, links))

    def of_turn(
        self,
        turn: TurnTrace,
        name: str,
        kind: Kind,
        attributes: Attributes,
        *,
        attempt: int | None,
        after: int | None,
        at_ms: int | None,
    ) -> Span:
        """See Tracer."""
        under = _context_of(turn.context)
        asked = trace.get_current_span(under).get_span_context()
        trace_id = asked.trace_id if asked.is_valid else _id_of(turn.name, 16)
        links = []
        if after is not None:
            before = SpanContext(trace_id, _attempt_id(turn, after), is_remote=True, trace_flags=asked.trace_flags)
            links = [Link(before, {"turnwire.attempt": after})]
        with _given(trace_id, None if attempt is None else _attempt_id(turn, attempt)):
            started_ns = None if at_ms is None else at_ms * 1_000_000
            span = self._tracer.start_span(name, under, _KINDS[kind], attributes, links, started_ns)
        return _OtelSpan(span)

    def current(self) -> Span:
        """See Tracer."""
        return _OtelSpan(trace.get_current_span())

    def close(self) -> None:
        """See Tracer."""
        if not self._closes:
            return
        # The SDK waits for a collector that hangs for up to 30 s.
        closing = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(CLOSE_S)


class _OtelSpan:
    """See Span."""

    __slots__ = ("_before", "_inside", "_span")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._inside: Context | None = None
        self._before = Context()

    @property
    def context(self) -> TraceContext | None:
        place = self._span.get_span_context()
        if not place.is_valid:
            return None
        parent = f"00-{place.trace_id:032x}-{place.span_id:016x}-{place.trace_flags:02x}"
        return TraceContext(parent, place.trace_state.to_header() or None)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def event(self, name: str, attributes: Attributes) -> None:
        self._span.add_event(name, attributes)

    def fail(self, error_type: str) -> None:
        self._span.set_attribute(ERROR_TYPE, error_type)
        self._span.set_status(Status(StatusCode.ERROR))

    def enter(self) -> None:
        # The context is put back as it was, and not by the token of `attach`: a generator may be closed in another task
        # than it was begun in, where the token does not count.
        self._before = get_current()
        self._inside = self._inside or trace.set_span_in_context(self._span, self._before)
        attach(self._inside)

    def leave(self) -> None:
        attach(self._before)

    def end(self, at_ms: int | None = None) -> None:
        self._span.end(None if at_ms is None else at_ms * 1_000_000)


class _Ids(IdGenerator):
    """Gives a span the ids that were given for it; others get random ones."""

    def __init__(self, random: IdGenerator) -> None:
        self._random = random

    def generate_span_id(self) -> int:
        return _given_ids.get()[1] or self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        return _given_ids.get()[0] or self._random.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        return self._random.is_trace_id_random()  # those that follow from a name are as good as random


@contextmanager
def _given(trace_id: int, span_id: int | None) -> Generator[None]:
    """Let the span that the block begins have these ids. A span with a parent is in the trace of its parent."""
    token = _given_ids.set((trace_id, span_id))
    try:
        yield
    finally:
        _given_ids.reset(token)


class _Seldom(logging.Filter):
    """Lets one record in a minute pass."""

    def __init__(self) -> None:
        super().__init__()
        self._next_at_s = 0.0

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - as logging calls it
        now_s = time.monotonic()
        if now_s < self._next_at_s:
            return False
        self._next_at_s = now_s + LOG_EVERY_S
        return True


def _provider(service: str, environ: Mapping[str, str]) -> TracerProvider:
    seldom = _Seldom()
    for name in _NOISY:
        logging.getLogger(name).addFilter(seldom)
    for secret in _secrets_of(environ):
        logs.hide(secret)
    # It closes nothing at the exit of the process, because that would take too long: see `close`.
    provider = TracerProvider(resource=_resource(service, environ), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_exporter(environ)))
    return provider


def _exporter(environ: Mapping[str, str]) -> SpanExporter:
    if environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "console":
        return ConsoleSpanExporter()
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if (protocol := environ.get(name)) and protocol != "http/protobuf":
            logger.warning("%s is %s, but traces are sent as http/protobuf", name, protocol)
    return OTLPSpanExporter()


def _resource(service: str, environ: Mapping[str, str]) -> Resource:
    given = environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    attributes: dict[str, Any] = {"service.version": __version__}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in given:
        attributes["service.name"] = service
    return Resource.create(attributes)


def _secrets_of(environ: Mapping[str, str]) -> Generator[str]:
    for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        for pair in environ.get(name, "").split(","):
            value = pair.partition("=")[2].strip()
            yield value
            yield unquote(value)


def _context_of(carried: TraceContext | None) -> Context:
    """Return the context of these headers. What is not valid in them is ignored, as their standard demands."""
    valid = None if carried is None else TRACEPARENT.match(carried.traceparent)
    if carried is None or valid is None:
        return Context()
    trace_id, span_id, flags = (int(part, 16) for part in valid.groups())
    state = TraceState.from_header([carried.tracestate]) if carried.tracestate else None
    place = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags), trace_state=state)
    return trace.set_span_in_context(NonRecordingSpan(place), Context())


def _links(context: SpanContext) -> list[Link]:
    return [Link(context)] if context.is_valid else []


def _attempt_id(turn: TurnTrace, attempt: int) -> int:
    return _id_of(f"{turn.name}/{attempt}", 8)


def _id_of(name: str, size: int) -> int:
    """Return an id of so many bytes that follows from the name. It is never 0, which would be no id."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:size]) or 1
