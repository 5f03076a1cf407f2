"""What the variables of OpenTelemetry do."""

import logging

import pytest
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from turnwire.shared import logs, otel
from turnwire.shared.tracing import Tracing


def test_a_variable_that_cannot_be_used_costs_the_traces_and_not_the_process(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    tracing = Tracing()
    tracing.start("turnwire-api", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    assert not tracing.on
    [record] = caplog.records
    assert "OpenTelemetry cannot be used (ValueError" in record.message


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "turnwire-api"),
        ({"OTEL_SERVICE_NAME": "chat"}, "chat"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=chat,deployment.environment.name=test"}, "chat"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}, "turnwire-api"),
    ],
)
def test_the_service_has_its_name_unless_a_variable_names_it(monkeypatch, environ, name):
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    assert otel._resource("turnwire-api", environ).attributes["service.name"] == name


def test_traces_may_go_to_standard_output():
    assert isinstance(otel._exporter({"OTEL_TRACES_EXPORTER": "console"}), ConsoleSpanExporter)


def test_another_protocol_is_named_in_the_log(caplog):
    otel._exporter({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}).shutdown()
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is grpc, but traces are sent as http/protobuf" in caplog.text


def test_the_key_of_a_collector_is_hidden_from_the_log(monkeypatch):
    monkeypatch.setattr(logs, "_read_later", set())
    for secret in otel._secrets_of({"OTEL_EXPORTER_OTLP_HEADERS": "api-key=abcdefgh,x=Basic%20c2VjcmV0"}):
        logs.hide(secret)
    assert logs.Scrubber("").scrubbed("it sent abcdefgh, Basic c2VjcmV0") == "it sent ***, ***"


def test_one_record_a_minute_passes():
    seldom, record = otel._Seldom(), logging.makeLogRecord({})
    assert [seldom.filter(record) for _ in range(3)] == [True, False, False]
    seldom._next_at_s -= otel.LOG_EVERY_S
    assert seldom.filter(record)
