"""Spans: what a process does and for how long, for OpenTelemetry. They are off unless the process begins them.

While they are off, nothing of OpenTelemetry is imported, and every span is NO_SPAN. A span holds no content: it has
ids, names, numbers and the types of errors, but neither messages nor answers nor the texts of errors.
"""

import asyncio
import logging
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Literal, Protocol, Self, TypeAlias

import msgspec

from turnwire.shared.model import TurnRecord

logger = logging.getLogger(__name__)

Attributes: TypeAlias = Mapping[str, str | bool | int | float | Sequence[str]]
Kind: TypeAlias = Literal["internal", "server", "client", "consumer"]
ERROR_TYPE: Final = "error.type"


# Versions that are to come may have more fields behind these, but none has the number ff.
TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})\Z")


class TraceContext(msgspec.Struct, frozen=True):
    """A place in a trace, as the two headers of W3C Trace Context name it."""

    traceparent: str
    tracestate: str | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers for a request."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


class TurnTrace(msgspec.Struct, frozen=True):
    """The trace of a turn. `context`: under which it was asked; None: nobody had begun a trace.

    The ids of the spans of its attempts follow from `name` and the number of the attempt. So each worker knows them,
    also if the process that ran the attempt before was killed.
    """

    name: str  # of this turn and never of another one
    context: TraceContext | None

    @classmethod
    def of(cls, record: TurnRecord) -> Self:
        """Return the trace of a turn."""
        context = TraceContext(record.traceparent, record.tracestate) if record.traceparent else None
        return cls(f"{record.run_id}/{record.created_at}", context)


class Span(Protocol):
    """One span."""

    @property
    def context(self) -> TraceContext | None:
        """The context for a request that is made within the span; None while spans are off."""

    def rename(self, name: str) -> None:
        """Give it another name."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def event(self, name: str, attributes: Attributes) -> None:
        """Note that something happened now."""

    def fail(self, error_type: str) -> None:
        """Mark what the span stands for as failed."""

    def enter(self) -> None:
        """From now on, the spans that the current task begins are parts of this one."""

    def leave(self) -> None:
        """Take `enter` back."""

    def end(self, at_ms: int | None = None) -> None:
        """End the span, now or at a time in ms. A span that does not end is never shown."""


class Tracer(Protocol):
    """Makes the spans of a process."""

    def begin(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        """Begin a span that is a part of the current one."""

    def serve(self, name: str, attributes: Attributes, client: TraceContext | None, *, trusted: bool) -> Span:
        """Begin the span of a request. It is a part of the client's, or only linked to it if that is not `trusted`."""

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
        """Begin a span of a turn: that of an `attempt`, or another one. It is linked to that of the attempt `after`."""

    def current(self) -> Span:
        """Return the span of which the current code is a part."""

    def close(self) -> None:
        """Send what is left, within a short time."""


class _NoSpan:
    """A span that nobody sees."""

    context: TraceContext | None = None

    def rename(self, name: str) -> None:
        pass

    def set(self, attributes: Attributes) -> None:
        pass

    def event(self, name: str, attributes: Attributes) -> None:
        pass

    def fail(self, error_type: str) -> None:
        pass

    def enter(self) -> None:
        pass

    def leave(self) -> None:
        pass

    def end(self, at_ms: int | None = None) -> None:
        pass


NO_SPAN: Final[Span] = _NoSpan()


class Tracing:
    """The spans of this process. `tracer`: None while they are off."""

    def __init__(self) -> None:
        self.tracer: Tracer | None = None

    def start(self, service: str, environ: Mapping[str, str]) -> None:
        """Turn spans on if the variables of OpenTelemetry ask for them, and its packages are there.

        `service`: the name of the service, unless a variable names it.
        """
        if not _is_wanted(environ):
            return
        try:
            from turnwire.shared.otel import otel_tracer

            self.tracer = otel_tracer(service, environ)
        except ImportError:
            logger.warning("there are no traces: they need `pip install 'turnwire[otel]'`")
        except Exception as error:  # noqa: BLE001 - a service without traces is better than none
            what = "there are no traces, because a variable of OpenTelemetry cannot be used (%s: %s)"
            logger.error(what, type(error).__name__, error)  # noqa: TRY400 - the text names the variable

    @property
    def on(self) -> bool:
        """Whether spans are shown to anybody."""
        return self.tracer is not None

    def begin(self, name: str, attributes: Attributes, kind: Kind = "internal") -> Span:
        """Begin a span that is a part of the current one."""
        return NO_SPAN if self.tracer is None else self.tracer.begin(name, kind, attributes)

    def of_turn(
        self,
        turn: TurnTrace,
        name: str,
        kind: Kind,
        attributes: Attributes,
        *,
        attempt: int | None = None,
        after: int | None = None,
        at_ms: int | None = None,
    ) -> Span:
        """Begin a span of a turn; see Tracer. `at_ms`: when it began; None: now."""
        if self.tracer is None:
            return NO_SPAN
        return self.tracer.of_turn(turn, name, kind, attributes, attempt=attempt, after=after, at_ms=at_ms)

    def current(self) -> Span:
        """Return the span of which the current code is a part."""
        return NO_SPAN if self.tracer is None else self.tracer.current()

    def close(self) -> None:
        """Send what is left, within a short time, and turn spans off."""
        tracer, self.tracer = self.tracer, None
        if tracer is not None:
            tracer.close()


tracing: Final = Tracing()


@contextmanager
def inside(span: Span) -> Generator[Span]:
    """Run the block as a part of the span, and end the span with it."""
    span.enter()
    try:
        yield span
    except BaseException as error:
        fail_by(span, error)
        raise
    finally:
        span.leave()
        span.end()


def fail_by(span: Span, error: BaseException) -> None:
    """Mark a span as failed by this exception. Whoever is stopped has not failed."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        span.event("cancelled", {})
    else:
        span.fail(type(error).__qualname__)


def _is_wanted(environ: Mapping[str, str]) -> bool:
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return bool(exporter) or any(environ.get(name) for name in endpoints)
