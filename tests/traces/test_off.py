"""Without the variables of OpenTelemetry, nothing of it is imported, and no span is made."""

import subprocess
import sys

import pytest

from stack.cluster import ROOT
from turnwire.shared import tracing as module
from turnwire.shared.tracing import NO_SPAN, Tracing

RUN = """
import sys
import turnwire.api.server, turnwire.worker.__main__
from turnwire.shared.settings import Settings
from turnwire.shared.tracing import tracing
from turnwire.testing import run_turn_sync
from turnwire.api.app import create_app
from tests.support.product import Scripted, text

tracing.start("turnwire-worker", {})
app = create_app(Settings())
run_turn_sync(Scripted(text("x")), "hi")
print([name for name in sys.modules if "opentelemetry" in name], [m.cls.__name__ for m in app.user_middleware])
"""


def test_nothing_is_imported_while_traces_are_off():
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "[] ['_Gate']\n", done.stderr


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_traces_are_off_unless_the_variables_ask_for_them(environ):
    tracing = Tracing()
    tracing.start("turnwire-api", environ)
    assert not tracing.on
    assert tracing.begin("x", {}) is tracing.current() is NO_SPAN
    assert NO_SPAN.context is None


def test_without_the_packages_a_line_says_what_to_install(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "turnwire.shared.otel", None)
    tracing = module.Tracing()
    tracing.start("turnwire-api", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"})
    assert not tracing.on
    assert "turnwire[otel]" in caplog.text
