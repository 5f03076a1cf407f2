"""Tells a client's server of a turn: one signed POST, as Standard Webhooks describes it, to an address that is allowed.

The name is resolved here, and the connection is made to the address that was checked. So a name that leads to another
address a moment later leads nowhere. Redirects are not followed, and no proxy is used.
"""

import asyncio
import base64
import socket
from datetime import UTC, datetime
from typing import Final

import httpx
from standardwebhooks.webhooks import Webhook

from turnwire.shared.callbacks import CallbackError, CallbackHosts
from turnwire.shared.errors import InvalidInput, SettingsError
from turnwire.shared.settings import Settings
from turnwire.shared.shared_secrets import SharedSecrets
from turnwire.shared.tracing import TraceContext
from turnwire.worker.turn.given_up import GivenUp
from turnwire.worker.turn.threads import ProductThreads, Raised

GONE: Final = 410  # with this status a server says that it wants to hear nothing more
SECRET_BEGINS: Final = "whsec_"  # noqa: S105 - the form of a secret, and none itself
SHORTEST_BYTES: Final = 24  # of a secret, as the standard demands
LONGEST_BYTES: Final = 64


class CallbackSender:
    """Sends callbacks.

    Raises:
        SettingsError: a host or a secret of the settings cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._hosts = CallbackHosts(settings)
        self._timeout_s = settings.callback_timeout_s
        name = "TURNWIRE_CALLBACK_SECRET"
        self._secrets = SharedSecrets(name, settings.callback_secret, settings.callback_secret_file)
        self._signers()
        self._tls = httpx.create_ssl_context(trust_env=False)  # reading the certificates would hold up every turn
        # Names are resolved in threads of their own: those of the event loop are few. If names that clients have chosen
        # took all of them, the names of model servers would wait.
        self._threads = ProductThreads(settings.max_jobs, GivenUp())

    async def send(self, url: str, callback_id: str, body: bytes, trace: TraceContext | None = None) -> int:
        """Send `body`, which is JSON. The same `callback_id` is sent with each try. `trace`: the server is told of it.

        Returns: the status of the server's answer.

        Raises:
            CallbackError: the server did not answer with 2xx or 410, or may not be told.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                headers = self._headers(callback_id, body) | (trace.headers() if trace is not None else {})
                status = await self._post(url, headers, body)
        except TimeoutError:
            raise CallbackError(f"no answer within {self._timeout_s:g} s") from None
        except (InvalidInput, SettingsError) as error:
            raise CallbackError(str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:  # the last: it is no name
            raise CallbackError(f"no connection ({type(error).__name__})") from error
        if not 200 <= status < 300 and status != GONE:
            raise CallbackError(f"status {status}", status)
        return status

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        parts = self._hosts.check(url)
        original = httpx.URL(url)
        address = await self._address(original.host, original.port or (443 if parts.scheme == "https" else 80))
        request_url = original.copy_with(host=address)
        headers["Host"] = original.netloc.decode("ascii")
        # Connections are not kept: one to an address would be used for another name at the same address. `send` limits
        # the time; a limit of the client would only give another reason for the same.
        limits = httpx.Limits(max_keepalive_connections=0)
        timeout_s = 2 * self._timeout_s
        async with httpx.AsyncClient(limits=limits, trust_env=False, timeout=timeout_s, verify=self._tls) as client:
            extensions = {"sni_hostname": original.host}  # the certificate must be of this name
            request = client.build_request("POST", request_url, content=body, headers=headers, extensions=extensions)
            response = await client.send(request, stream=True)
            await response.aclose()  # nobody reads what the server says, however long it is
            return response.status_code

    async def _address(self, host: str, port: int) -> str:
        """Resolve a name. Raises CallbackError if none of its addresses is allowed."""
        try:
            found = await self._threads.run(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
        except Raised as raised:
            raise raised.error from None
        for *_, place in found:
            if self._hosts.permits(address := str(place[0])):
                return address
        raise CallbackError("its name leads to no public address")

    def _headers(self, callback_id: str, body: bytes) -> dict[str, str]:
        now = datetime.now(UTC)
        text = body.decode()
        signatures = (signer.sign(callback_id, now, text) for signer in self._signers())
        return {
            "Content-Type": "application/json",
            "User-Agent": "turnwire",
            "webhook-id": callback_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),  # of each secret, so that they can be rotated
        }

    def _signers(self) -> list[Webhook]:
        try:
            return [_signer(secret) for secret in self._secrets.current]
        except ValueError:
            wanted = f"whsec_ and the base64 of {SHORTEST_BYTES} to {LONGEST_BYTES} bytes"
            raise SettingsError(f"TURNWIRE_CALLBACK_SECRET: it must be {wanted}") from None


def _signer(secret: str) -> Webhook:
    """Raises ValueError if it is no secret of the standard. The library itself would skip characters of no meaning."""
    if not secret.startswith(SECRET_BEGINS):
        raise ValueError
    key = base64.b64decode(secret.removeprefix(SECRET_BEGINS), validate=True)
    if not SHORTEST_BYTES <= len(key) <= LONGEST_BYTES:
        raise ValueError
    return Webhook(key)
