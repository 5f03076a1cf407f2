"""The reference pages agree with the code: settings, errors, events, hooks, endpoints, files."""

import inspect
import re
from pathlib import Path

import pytest
from starlette.routing import Route

import turnwire
from tests.support.markdown import PAGES, ROOT, page_name
from turnwire import ChatTurnHooks, backends, testing
from turnwire.api.app import create_app
from turnwire.api.edge.problems import INTERNAL, STATUS
from turnwire.shared import events
from turnwire.shared.errors import TurnFailure
from turnwire.shared.key_file import Key, TenantSettings
from turnwire.shared.ledger import LedgerRow
from turnwire.shared.metric_names import METRICS
from turnwire.shared.settings import Settings
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.turn.step_errors import SignalTimeoutError


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def rows_of(page: str) -> list[list[str]]:
    """Return the rows of every table of a page. Backticks are removed from the cells."""
    lines = re.findall(r"^\| (.+) \|$", text_of(page), re.MULTILINE)
    return [[cell.strip().strip("`") for cell in line.split(" | ")] for line in lines]


def test_the_settings_page_has_every_setting_with_its_default():
    stated = {name.lower(): default for name, default, _ in rows_of("settings.md") if name != "Name"}
    defaults = Settings()
    assert sorted(stated) == sorted(Settings.__struct_fields__)
    for name, text in stated.items():
        default = getattr(defaults, name)
        if default is None:
            assert text in {"not set", "REDIS_URL"}, name
        elif isinstance(default, bool):
            assert text.lower() == str(default).lower(), name
        else:
            assert type(default)(text) == default, name


def test_the_errors_page_has_every_refusal():
    stated = {
        row[0]: (int(row[1]), row[2] == "yes") for row in rows_of("errors.md") if len(row) == 4 and row[0] != "Code"
    }
    refusals = {kind.code: (status, kind.retryable) for kind, (status, _) in STATUS.items()}
    assert stated == refusals | {INTERNAL.code: (INTERNAL.status, INTERNAL.retryable)}


def subclasses(kind: type[TurnFailure]) -> set[type[TurnFailure]]:
    found = {kind}
    for below in kind.__subclasses__():
        if below.__module__.startswith("turnwire."):
            found |= subclasses(below)
    return found


def test_the_errors_page_has_every_code_of_a_failed_turn():
    failures = subclasses(TurnFailure) - {TurnFailure}
    assert {SignalTimeoutError, BackendTransportError} < failures
    inside = {"attempt_fenced"}  # no turn fails with it, because another attempt continues
    stated = {row[0] for row in rows_of("errors.md") if len(row) == 2}
    assert {kind.code for kind in failures} - inside - stated == set()


def test_the_events_page_has_every_event_of_turnwire():
    own = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    assert [name for name in own if f"- `{name}`: " not in text_of("events.md")] == []


def test_the_hooks_page_has_every_hook_with_its_arguments():
    hooks = inspect.getmembers(ChatTurnHooks, inspect.isfunction)
    headings = re.findall(r"^### (\w+)\((.*)\)$", text_of("hooks.md"), re.MULTILINE)
    assert sorted(headings) == sorted(
        (name, ", ".join(list(inspect.signature(hook).parameters)[1:]))
        for name, hook in hooks
        if not name.startswith("_")
    )


def test_the_hooks_page_names_the_arguments_of_a_step():
    told = [name for name, it in inspect.signature(turnwire.Turn.step).parameters.items() if name != "self"]
    section = text_of("hooks.md").partition("## Steps")[2].partition("## Streams")[0]
    assert [name for name in told if name != "kind" and not re.search(rf"\b{name}\b", section)] == []


def test_the_python_page_has_every_public_name():
    from turnwire.agents import pydantic_ai

    public = {
        f"{module.__name__}.{name}" for module in (turnwire, backends, testing, pydantic_ai) for name in module.__all__
    }
    assert set(re.findall(r"^::: (\S+)$", text_of("api.md"), re.MULTILINE)) == public - {"turnwire.__version__"}


def test_the_ledger_page_has_every_field():
    assert [name for name in LedgerRow.__struct_fields__ if f"`{name}`" not in text_of("ledger.md")] == []
    assert sorted(re.findall(r'^  "(\w+)":', text_of("ledger.md"), re.MULTILINE)) == sorted(LedgerRow.__struct_fields__)


def test_pages_name_no_metric_that_the_code_does_not_know():
    known = {metric.name for metric in METRICS}
    named = {name for path in PAGES for name in re.findall(r"`(turnwire_[a-z_]+)`", path.read_text(encoding="utf-8"))}
    assert named <= known
    assert known <= named, "a page says what it means"


def test_the_settings_page_has_every_limit_that_the_key_file_may_give():
    section = text_of("settings.md").partition("## Limits of a tenant")[2].partition("\n## ")[0]
    own = set(Key.__struct_fields__) - {"name", "tenant", "scopes", "sha256", "user"}
    names = own | set(TenantSettings.__struct_fields__)
    assert [name for name in names if f"`{name}`" not in section and f"`{name.upper()}`" not in section] == []


def test_the_protocol_page_has_every_route():
    endpoints = text_of("protocol.md").partition("## Ask a turn")[0]
    named = {
        path.replace("…", "/v1/sessions/{session}")
        for path in re.findall(r"`(?:GET|POST|DELETE) ((?:…|/)\S*)`", endpoints)
    }
    paths = {route.path for route in create_app(Settings()).routes if isinstance(route, Route)}
    assert named == {path.replace(":path", "") for path in paths}


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_file_that_a_page_names_exists(path: Path):
    text = path.read_text(encoding="utf-8")
    roots = "api|worker|shared|turnwire|tests|stack|examples|benchmarks|chaos|docs"
    named = re.findall(rf"`((?:{roots})/[\w./-]*)`", text)
    if path.name == "failure-modes.md":
        named += [f"tests/faults/{name}" for name in re.findall(r"`(test_\w+\.py)`", text)]
    assert [name for name in named if not (ROOT / name.replace("NAME", "claim")).exists()] == []
