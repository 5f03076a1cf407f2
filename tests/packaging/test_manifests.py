"""deploy/kubernetes and deploy/compose.yaml fit together, and fit what Turnwire is."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from stack.cluster import ROOT, Stack
from stack.network import free_port
from stack.process import Service
from stack.redis_server import find_server
from turnwire.api.endpoints.routes import OPERATIONS
from turnwire.api.server import GRACE_S
from turnwire.shared.metric_names import BY_NAME
from turnwire.shared.settings import Settings

DEPLOY: Final = ROOT / "deploy"
BASE: Final = DEPLOY / "kubernetes" / "base"
SECRET_ENV: Final = {"TURNWIRE_REDIS_URL": "redis://redis:6379/0"}  # what a secret or an env_file holds
GIVE_BACK_S: Final = 30  # docs/how-to/deploying.md: so much more than TURNWIRE_DRAIN_S suffices
API_END_S: Final = GRACE_S + 5


@cache
def base() -> list[dict[str, Any]]:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    return [one for name in listed for one in yaml.safe_load_all((BASE / name).read_text(encoding="utf-8"))]


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Return the resources of this kind in the base, by name."""
    return {one["metadata"]["name"]: one for one in base() if one["kind"] == kind}


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = resources("Deployment")[name]["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    (only,) = pod(name)["containers"]
    found: dict[str, Any] = only
    return found


def settings_of(name: str) -> Settings:
    """Read the settings as the process does. A name that is no setting is refused."""
    maps = [resources("ConfigMap")[one["configMapRef"]["name"]]["data"] for one in container(name)["envFrom"]]
    env = {key: value for one in maps for key, value in one.items()}
    assert {one["name"] for one in container(name)["env"]} == set(SECRET_ENV)
    return Settings.from_env(env | SECRET_ENV)


def test_the_api_of_kubernetes_ends_before_it_is_killed_and_its_probes_exist():
    assert (
        pod("turnwire-api")["terminationGracePeriodSeconds"] > settings_of("turnwire-api").shutdown_delay_s + API_END_S
    )
    paths = {operation.path for operation in OPERATIONS}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container("turnwire-api")[probe]["httpGet"]
        assert asked["path"] in paths
        assert asked["port"] == container("turnwire-api")["ports"][0]["name"]
    assert container("turnwire-api")["ports"][0]["containerPort"] == Settings().port


def test_the_worker_of_kubernetes_ends_before_it_is_killed_and_its_probes_exist():
    settings = settings_of("turnwire-worker")
    assert pod("turnwire-worker")["terminationGracePeriodSeconds"] > settings.drain_s + GIVE_BACK_S
    assert container("turnwire-worker")["ports"] == [{"name": "metrics", "containerPort": settings.metrics_port}]
    assert settings.metrics_host == "0.0.0.0"  # probes come from the node
    asked = [container("turnwire-worker")[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    assert asked == [{"path": "/healthz", "port": "metrics"}, {"path": "/readyz", "port": "metrics"}]


@pytest.mark.parametrize("name", ["turnwire-api", "turnwire-worker"])
def test_selectors_of_kubernetes_match_their_pods_and_nobody_is_root(name: str):
    labels = resources("Deployment")[name]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        resources("Deployment")[name]["spec"]["selector"]["matchLabels"],
        resources("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"],
        resources("NetworkPolicy")[name]["spec"]["podSelector"]["matchLabels"],
        *(one["labelSelector"]["matchLabels"] for one in pod(name)["topologySpreadConstraints"]),
        *(one["spec"]["selector"] for one in resources("Service").values() if one["metadata"]["name"] == name),
    ]
    assert all(selector == labels for selector in selectors)
    assert pod(name)["securityContext"]["runAsNonRoot"] is True
    uid = pod(name)["securityContext"]["runAsUser"]
    assert f"USER {uid}:{uid}" in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def test_what_a_pod_names_exists_or_is_made_by_a_command_of_the_page():
    guide = (ROOT / "docs" / "how-to" / "deploying.md").read_text(encoding="utf-8")
    secrets = set(re.findall(r"create secret generic (\S+)", guide))
    keys_of = {name: set(re.findall(rf"generic {name} .*--from-file=([\w.-]+)", guide)) for name in secrets}
    for name in resources("Deployment"):
        volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
        assert {mount["name"] for mount in container(name)["volumeMounts"]} == set(volumes)
        assert {volume["secret"]["secretName"] for volume in volumes.values() if "secret" in volume} <= secrets
        for variable in container(name)["env"]:
            wanted = variable["valueFrom"]["secretKeyRef"]
            assert wanted["key"] in keys_of[wanted["name"]]
        (mount,) = [mount for mount in container(name)["volumeMounts"] if mount["name"] == "keys"]
        file = Path(settings_of(name).api_keys_file or "")
        assert (str(file.parent), {file.name}) == (mount["mountPath"], keys_of["turnwire-keys"])
        ports = {port["name"] for port in container(name)["ports"]}
        policy = resources("NetworkPolicy")[name]["spec"]
        assert {rule["port"] for one in policy["ingress"] for rule in one["ports"]} <= ports
    (scaler,) = resources("HorizontalPodAutoscaler").values()
    assert scaler["spec"]["scaleTargetRef"]["name"] == "turnwire-api"
    assert "replicas" not in resources("Deployment")["turnwire-api"]["spec"], "the autoscaler sets how many there are"
    (service,) = resources("Service").values()
    assert service["spec"]["ports"][0]["targetPort"] in {port["name"] for port in container("turnwire-api")["ports"]}


def test_keda_asks_for_metrics_that_exist():
    text = (DEPLOY / "kubernetes" / "with-keda" / "scaled-object.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"turnwire_\w+", text))
    assert named <= set(BY_NAME)
    assert "turnwire_queue_oldest_waiting_seconds" in named
    assert yaml.safe_load(text)["spec"]["scaleTargetRef"]["name"] in resources("Deployment")


@pytest.mark.parametrize("folder", ["base", "with-keda"])
def test_kustomize_builds_it(folder: str):
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    command = ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / folder)]
    built = list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert {one["metadata"]["namespace"] for one in built} == {"turnwire"}
    (worker,) = [one for one in built if one["kind"] == "Deployment" and one["metadata"]["name"] == "turnwire-worker"]
    assert ("replicas" in worker["spec"]) == (folder == "base")


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def test_the_processes_of_compose_have_settings_that_exist_and_end_before_they_are_killed():
    services = compose()["services"]
    api, worker = (Settings.from_env(services[name]["environment"] | SECRET_ENV) for name in ("api", "worker"))
    assert float(services["api"]["stop_grace_period"].removesuffix("s")) > api.shutdown_delay_s + API_END_S
    assert float(services["worker"]["stop_grace_period"].removesuffix("s")) > worker.drain_s + GIVE_BACK_S
    assert f":{worker.metrics_port}/healthz" in services["worker"]["healthcheck"]["test"][-1]
    assert api.trusted_proxies == services["caddy"]["networks"]["front"]["ipv4_address"]
    for service in services.values():
        assert {*service["networks"]} <= {*compose()["networks"]}
        assert {*service.get("secrets", [])} <= {*compose()["secrets"]}


def test_turns_run_with_the_secrets_that_the_script_makes(tmp_path: Path):
    (tmp_path / "redis").mkdir()
    shutil.copy(DEPLOY / "secrets.sh", tmp_path)
    shutil.copy(DEPLOY / "redis" / "users.acl", tmp_path / "redis")
    made = subprocess.run(["sh", str(tmp_path / "secrets.sh")], check=True, capture_output=True, text=True)
    secrets = tmp_path / "secrets"
    again = subprocess.run(["sh", str(tmp_path / "secrets.sh")], check=False, capture_output=True)
    assert again.returncode == 1  # it destroys nothing

    port = free_port()
    options = compose()["services"]["redis"]["command"].replace("/run/secrets", str(secrets)).replace('""', "''")
    options = options.replace("/data", str(tmp_path)).replace("--save ''", "").split()[1:]
    redis = Service("redis", [*find_server(), "--port", str(port), *options], {}, tmp_path / "redis.log").start()
    try:
        redis.wait_until(lambda: "eady to accept connections" in redis.log(), 20)
        stack = Stack(tmp_path, env={"TURNWIRE_REDIS_URL": "redis://redis:6379/0"})
        for service in stack.services:
            name = service.name.rstrip("0123456789")
            (line,) = (secrets / f"{name}.env").read_text().split()
            variable, _, url = line.partition("=")
            service.env[variable] = url.replace("@redis:6379", f"@127.0.0.1:{port}")
            service.env["TURNWIRE_API_KEYS_FILE"] = str(secrets / "keys.toml")
        with stack, httpx.Client(trust_env=False, timeout=20) as http:
            url = f"{stack.base_urls[0]}/v1/sessions/s/turns/0"
            body = {"message": "hello"}
            assert http.post(url, json=body).status_code == 401
            answer = http.post(url, json=body, headers={"x-api-key": made.stdout.strip()})
            assert '"session.run.completed"' in answer.text.splitlines()[-1]
    finally:
        redis.kill()
