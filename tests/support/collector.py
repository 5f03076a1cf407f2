"""A collector of traces: it takes spans by OTLP over HTTP, as any collector does, and keeps them for a test."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Final, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.waiting import LIMIT_S, wait_until

OK: Final = "application/x-protobuf"


class Seen(NamedTuple):
    """A span as the collector got it. Ids are hexadecimal."""

    name: str
    kind: str
    service: str
    trace_id: str
    id: str
    parent: str
    attributes: Mapping[str, Any]
    links: list[tuple[str, str]]  # trace id and span id
    events: list[str]
    failed: bool
    start_ns: int
    end_ns: int


class Collector:
    """What has arrived. `url` is the value for OTEL_EXPORTER_OTLP_ENDPOINT."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Seen] = []
        self.received = b""  # everything, as it came
        self.requests = 0
        self.told: list[dict[str, str]] = []  # the headers of all other requests, such as callbacks

    @property
    def env(self) -> dict[str, str]:
        """The variables of a process that sends its spans here, and soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def take(self, body: bytes) -> None:
        self.received += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {pair.key: pair.value.string_value for pair in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                self.spans += [seen(span, service) for span in scope.spans]

    def of(self, trace_id: str) -> list[Seen]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def named(self, trace_id: str, name: str) -> list[Seen]:
        return [span for span in self.of(trace_id) if span.name == name]

    async def span(self, trace_id: str, name: str, **attributes: Any) -> Seen:
        """Wait for the one span with this name and these attributes; `turnwire_attempt` is `turnwire.attempt`."""

        def found() -> list[Seen]:
            wanted = {key.replace("_", "."): value for key, value in attributes.items()}
            return [span for span in self.named(trace_id, name) if wanted.items() <= span.attributes.items()]

        spans: list[Seen] = await wait_until(found, f"the span {name} {attributes} of {trace_id}", LIMIT_S)
        assert len(spans) == 1, spans
        return spans[0]


def seen(span: Span, service: str) -> Seen:
    return Seen(
        span.name,
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        service,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        {pair.key: value_of(pair.value) for pair in span.attributes},
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        [event.name for event in span.events],
        span.status.code == Status.STATUS_CODE_ERROR,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    )


def value_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(each) for each in value.array_value.values]
    return getattr(value, kind)


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector in threads of this process."""
    collecting = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                collecting.requests += 1
                collecting.take(body)
            else:
                collecting.told.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("Content-Type", OK)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with _serving(Handler) as collecting.url:
        yield collecting


@contextmanager
def hanging_collector() -> Iterator[Collector]:
    """Run a collector that takes requests and answers none."""
    collecting, over = Collector(), Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collecting.requests += 1
            over.wait()

    with _serving(Handler) as collecting.url:
        try:
            yield collecting
        finally:
            over.set()


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
