"""A real Prometheus scrapes a real API and a real worker, runs the queries of the dashboard and evaluates the rules."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from stack.cluster import Stack
from stack.process import free_port
from tests.support.markdown import ROOT
from tests.support.waiting import wait_until
from turnwire.shared.metric_names import METRICS

DEPLOY = ROOT / "deploy"
PROGRAM = shutil.which("prometheus")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PROGRAM is None, reason="Prometheus is not installed (Debian: apt install prometheus)"),
]
ONLY_WHEN_IT_HAPPENS = {  # their labels have no value before
    "turnwire_tokens_total", "turnwire_cost_total", "turnwire_model_calls_total",
}  # fmt: skip


def queries() -> Iterator[str]:
    for panel in json.loads((DEPLOY / "grafana" / "turnwire.json").read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "1m")


def configured(folder: Path, targets: dict[str, str]) -> Path:
    """Write the configuration of deploy/ with these targets, which are asked often and without a key."""
    document = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    document["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    for job in document["scrape_configs"]:
        job.pop("authorization", None)
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    shutil.copy(DEPLOY / "prometheus" / "turnwire.rules.yml", folder)
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[httpx.Client]:
    """The API of a Prometheus that scrapes a Turnwire which has run one turn."""
    port, worker_port = free_port(), free_port()
    with Stack(tmp_path / "stack", env={"TURNWIRE_METRICS_PORT": str(worker_port)}) as stack:
        api = stack.base_urls[0]
        answer = httpx.post(f"{api}/v1/sessions/demo/turns", json={"message": "hello"}, trust_env=False, timeout=30)
        assert answer.status_code == 200
        targets = {"turnwire-api": api.removeprefix("http://"), "turnwire-worker": f"127.0.0.1:{worker_port}"}
        config = configured(tmp_path, targets)
        assert PROGRAM is not None
        command = [PROGRAM, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
        command.append(f"--web.listen-address=127.0.0.1:{port}")
        with (tmp_path / "prometheus.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=30) as http:
                    yield http
            finally:
                process.terminate()
                process.wait(timeout=30)


async def test_every_metric_query_and_rule_works_in_prometheus(prometheus: httpx.Client) -> None:
    def ask(path: str, **parameters: str) -> Any:
        try:
            answer = prometheus.get(path, params=parameters)
        except httpx.TransportError:
            return None
        if answer.status_code == 503:  # it is starting
            return None
        assert answer.json()["status"] == "success", answer.text
        return answer.json()["data"]

    def is_everything_up() -> bool:
        active = (ask("/targets") or {"activeTargets": []})["activeTargets"]
        return [target["health"] for target in active] == ["up", "up"]

    def evaluated() -> list[dict[str, Any]]:
        rules = [rule for group in ask("/rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else []

    await wait_until(is_everything_up, "both targets to be scraped")
    names = set(ask("/label/__name__/values"))
    wanted = {f"{metric.name}_bucket" if metric.kind == "histogram" else metric.name for metric in METRICS}
    assert wanted - names <= ONLY_WHEN_IT_HAPPENS
    rules = await wait_until(evaluated, "the rules to be evaluated")
    assert [rule for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
    for query in queries():
        ask("/query", query=query)
