"""A proxy that authenticates names the tenant in a header, and nobody else may."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stack.cluster import Stack
from tests.access.world import ASYNC

TURN = "/v1/sessions/demo/turns/0"
BEHIND_PROXY = {"TURNWIRE_AUTH": "none", "TURNWIRE_TENANT_HEADER": "X-Tenant"}


@pytest.fixture
def http(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A client at the address 127.0.0.1 of an API that trusts these proxies."""
    env = BEHIND_PROXY | ({"TURNWIRE_TRUSTED_PROXIES": request.param} if request.param else {})
    with (
        Stack(tmp_path, workers=0, env=env) as stack,
        httpx.Client(base_url=stack.base_urls[0], timeout=30, trust_env=False) as client,
    ):
        yield client


@pytest.mark.parametrize("http", ["", "127.0.0.1"], indirect=True)
def test_each_request_is_of_the_tenant_that_the_proxy_names(http: httpx.Client):
    asked = http.post(TURN, json={"message": "m"}, headers={"X-Tenant": "acme", **ASYNC})
    assert (asked.status_code, asked.json()["tenant_id"]) == (202, "acme")
    assert http.get(TURN, headers={"X-Tenant": "acme"}).status_code == 200
    assert http.get(TURN, headers={"x-tenant": "acme", "Authorization": "Basic of-the-proxy"}).status_code == 200
    assert http.get(TURN, headers={"X-Tenant": "globex"}).status_code == 404
    assert http.get("/v1/admin/queue", headers={"X-Tenant": "acme"}).status_code == 403
    for unclear in ([], [("X-Tenant", "a~b")], [("X-Tenant", "")], [("X-Tenant", "acme"), ("X-Tenant", "globex")]):
        assert http.get(TURN, headers=unclear).status_code == 401


@pytest.mark.parametrize("http", ["10.0.0.0/8"], indirect=True)
def test_the_header_of_a_stranger_counts_for_nothing(http: httpx.Client):
    assert http.get(TURN, headers={"X-Tenant": "acme"}).status_code == 401
    assert http.get("/readyz").status_code == 200
