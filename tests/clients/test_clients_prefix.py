"""The proxies of deploy/ show the API below a path, and what it answers leads back there."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest

from stack.cluster import Stack
from tests.clients.proxies import PROXIES, SITE, Proxied, running
from tests.support.scene import SETTINGS, Scene
from tests.support.waiting import wait_until

pytestmark = pytest.mark.clients
PATH: Final = "/chat"


@pytest.fixture(scope="module")
def stack_below_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("prefix")
    hosts = {"TURNWIRE_ALLOWED_HOSTS": f"{SITE},127.0.0.1", "TURNWIRE_ROOT_PATH": PATH}
    with Stack(directory, workers=1, env=SETTINGS | hosts | {"CHAOS_LEDGER": str(directory / "ledger")}) as stack:
        yield stack


@pytest.fixture(params=PROXIES)
async def below_path(
    request: pytest.FixtureRequest, stack_below_path: Stack, certificate: Path, tmp_path: Path
) -> AsyncIterator[Proxied]:
    api = urlsplit(stack_below_path.base_urls[0]).netloc
    async with Scene(stack_below_path, tmp_path / "ledger") as scene:
        with running(request.param, tmp_path, [api], certificate, PATH) as port:
            yield Proxied(request.param, scene, port)


async def test_what_the_api_answers_leads_back_below_the_path(below_path: Proxied):
    turn = below_path.scene.turn()
    async with below_path.http() as http:

        async def ready() -> bool:
            try:
                return (await http.send(below_path.ask(http, "GET", f"{PATH}/readyz"))).status_code == 200
            except httpx.TransportError:
                return False

        await wait_until(ready, "the proxy is ready")
        body = {"message": "hi", "metadata": turn.metadata}
        accepted = await http.send(below_path.ask(http, "POST", PATH + turn.path, body))
        assert json.loads(accepted.text.splitlines()[-1])["type"] == "session.run.completed"

        request = below_path.ask(http, "POST", f"{PATH}/v1/sessions/{turn.session}/turns", body)
        request.headers["Prefer"] = "respond-async"
        accepted = await http.send(request)
        assert accepted.headers["location"] == f"{PATH}/v1/sessions/{turn.session}/turns/1"
        assert (await http.send(below_path.ask(http, "GET", accepted.headers["location"]))).status_code == 200

        statuses = {}
        for path in ("/openapi.json", "/docs", "/v1/admin/queue"):
            statuses[path] = (await http.send(below_path.ask(http, "GET", PATH + path))).status_code
        assert statuses == {"/openapi.json": 200, "/docs": 200, "/v1/admin/queue": 404}
        described = (await http.send(below_path.ask(http, "GET", f"{PATH}/openapi.json"))).json()
        assert described.get("servers") == [{"url": PATH}]
