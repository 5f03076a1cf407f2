"""The alert rules and the dashboard name metrics, labels and values that exist, and Prometheus takes them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.markdown import ROOT
from turnwire.shared.metric_names import BY_NAME, METRICS, Metric

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "turnwire.json"
OF_SERIES = {"le", "instance", "job"}  # labels that Prometheus adds, and that of the buckets of a histogram
OF_PYTHON = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
PROMTOOL = shutil.which("promtool")


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((PROMETHEUS / "turnwire.rules.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Yield each expression, with what it is part of."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def metric_of(name: str) -> Metric | None:
    """Return the metric of a series: a histogram has three kinds of them."""
    whole = re.sub(r"_(bucket|sum|count)$", "", name)
    metric = BY_NAME.get(name) or BY_NAME.get(whole)
    return metric if metric is None or (metric.kind == "histogram") == (whole != name) else None


@pytest.mark.parametrize(("where", "expression"), [*expressions()], ids=lambda text: text[:40])
def test_every_metric_label_and_value_of_an_expression_exists(where: str, expression: str):
    named = set(re.findall(r"\b((?:turnwire|process)_\w+|up)\b", re.sub(r'"[^"]*"', '""', expression)))
    assert named
    metrics = {name: metric_of(name) for name in named - OF_PYTHON}
    assert [name for name, metric in metrics.items() if metric is None] == []
    known = OF_SERIES | {label for metric in metrics.values() if metric for label in metric.labels}
    grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}
    assert grouped <= known
    for name, selector in re.findall(r"\b(\w+)\{([^}]*)\}", expression):
        for label, text in re.findall(r'(\w+)\s*(?:=~|!=|=)\s*"([^"]*)"', selector):
            metric = metrics.get(name)
            assert label in OF_SERIES | (set(metric.labels) if metric else set()), (where, label)
            values = metric.labels.get(label, ()) if metric else ()
            assert not values or set(text.split("|")) <= set(values), (where, text)


def test_every_metric_is_on_the_dashboard_or_explained_by_an_alert():
    """What nobody looks at need not be measured; a few are for those who search for a reason."""
    shown = " ".join(expression for _, expression in expressions())
    for_a_search = {
        "turnwire_draining", "turnwire_redis_commands_total", "turnwire_replay_seconds", "turnwire_requests_total",
        "turnwire_refused_requests_total", "turnwire_stalled_clients_total", "turnwire_followed_turns",
        "turnwire_attempt_seconds", "turnwire_persist_failures_total", "turnwire_callback_failures_total",
        "turnwire_slots", "turnwire_running_jobs", "turnwire_heartbeat_age_seconds",
    }  # fmt: skip
    assert {metric.name for metric in METRICS if metric.name not in shown} == for_a_search


def test_every_alert_says_what_it_means_and_what_to_do_there_and_on_the_page():
    page = re.sub(r"\s+", " ", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"))
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) > 10
    for rule in rules():
        notes, severity = rule["annotations"], rule["labels"]["severity"]
        assert severity in {"page", "ticket"}
        told = f"- **{rule['alert']}** (`{severity}`). {notes['meaning']} *What to do:* {notes['action']}"
        assert told in page, rule["alert"]
        assert notes["summary"]


def test_each_panel_of_the_dashboard_says_what_it_shows_and_has_a_place_of_its_own():
    places: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & places, panel["title"]
        places |= cells


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: apt install prometheus)")
def test_prometheus_takes_the_configuration_and_the_rules_fire_when_they_should(tmp_path: Path):
    assert PROMTOOL is not None
    for path in PROMETHEUS.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "turnwire.key").write_text("tw_key")
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "turnwire.tests.yml"]):
        ran = subprocess.run(
            [PROMTOOL, *command], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "SUCCESS" in ran.stdout
