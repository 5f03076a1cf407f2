"""The address of a client, as the proxies of deploy/ tell it: nothing counts that the client wrote itself."""

from pathlib import Path

import httpx
import pytest

from tests.clients.proxies import PROXIES, Proxied, running
from tests.support.served import served
from tests.support.waiting import wait_until
from turnwire.api.edge.client_address import TrustedProxies

pytestmark = pytest.mark.clients
CLIENT = "127.0.0.2"
LIES = {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6", "X-Real-IP": "6.6.6.6"}
START_S = 20.0


@pytest.mark.parametrize("name", PROXIES)
async def test_a_proxy_names_the_client_and_not_what_the_client_says(name: str, certificate: Path, tmp_path: Path):
    async with served() as api:
        with running(name, tmp_path, [f"127.0.0.1:{api.port}"], certificate) as port:
            proxied = Proxied(name, None, port)
            async with proxied.http(local_address=CLIENT) as http:

                async def asked() -> httpx.Response | None:
                    request = proxied.ask(http, "GET", "/v1/sessions/a/turns")
                    request.headers.update(LIES)
                    try:
                        response = await http.send(request)
                    except httpx.TransportError:
                        return None
                    return response if response.status_code == 200 else None

                response = await wait_until(asked, "an answer through the proxy", START_S)
    headers = [(key.encode(), value.encode()) for key, value in response.json()["headers"].items()]
    assert TrustedProxies("127.0.0.1").client("127.0.0.1", headers) == CLIENT
