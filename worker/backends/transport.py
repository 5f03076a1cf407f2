"""Sends one request to a model server, with deadlines. The caller decides whether a request is repeated."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Final, NoReturn
from urllib.parse import quote

import httpx

from turnwire.shared.errors import SettingsError
from turnwire.worker.backends.body import read_error_body
from turnwire.worker.backends.clients import TIMEOUTS, Clients, Loan
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.backends.reasons import PASSING
from turnwire.worker.backends.reports import refusal_reason
from turnwire.worker.backends.retry import RetryPolicy, retry_after_ms
from turnwire.worker.backends.url import completions_url, sibling_url

_SHORTEST_SECRET: Final = 6  # hiding a shorter value would hide parts of ordinary words
_KEY_CHARACTERS: Final = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"


class Transport:
    """The connections to one model server, whose chat completions are at `url`. It makes its HTTP client at once.

    Arguments and errors are those of `OpenAIBackend`.
    """

    def __init__(
        self, base_url: str, api_key: str | None, policy: RetryPolicy, client: httpx.AsyncClient | None, kind: str
    ) -> None:
        self.url = completions_url(base_url, api_key)
        self._headers = _headers(api_key)
        self._policy = policy
        self._clients = Clients(client)
        self._kind = kind

    async def aclose(self) -> None:
        """Close the connections, unless the client was given by the caller. It may be called again."""
        await self._clients.aclose()

    @asynccontextmanager
    async def exchange(
        self,
        body: bytes | None,
        headers: Mapping[str, str],
        attempt: str,
        *,
        method: str = "POST",
        path: bytes = b"",
        query: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[httpx.Response]:
        """Send one request, and yield a 2xx response. The caller reads the body, which is closed at the block's end.

        `headers` are sent besides those that each request has; `Idempotency-Key` may be one of them. `attempt` says in
        messages which request of the call this is. `path`: asked in place of `/chat/completions`, with this `query`.

        Raises:
            BackendTransportError: there was no response (status 0), or one that is not 2xx.
        """
        sent = {**self._headers, **headers}
        # A product may have made the key of anything. A header holds printable ASCII.
        if "Idempotency-Key" in sent:
            sent["Idempotency-Key"] = quote(sent["Idempotency-Key"], safe=_KEY_CHARACTERS, errors="replace")
        url = sibling_url(self.url, path, query or {}) if path else self.url
        async with self._clients.lend() as loan:
            response = await self._request(loan, method, url, body, sent, attempt)
            async with aclosing(response):
                yield response
                loan.sound = response.is_closed  # httpx closes it when it was read to its end

    async def _request(
        self, loan: Loan, method: str, url: httpx.URL, body: bytes | None, headers: dict[str, str], attempt: str
    ) -> httpx.Response:
        client, timeout_ms = loan.client, self._policy.request_timeout_ms
        request = client.build_request(method, url, content=body, headers=headers, timeout=TIMEOUTS)
        try:
            # This is not `wait_for`, which can swallow the cancellation of a turn on Python 3.11.
            async with asyncio.timeout(timeout_ms / 1000 if timeout_ms else None):
                response = await client.send(request, stream=True)
        except TimeoutError as error:
            self._unreachable(f"no answer within {timeout_ms} ms", attempt, error)
        except httpx.TransportError as error:
            loan.sound = True  # the request ended by itself, nothing was cancelled
            self._unreachable(_reason(error), attempt, error)
        if not response.is_success:
            refusal = await self._refusal(response, attempt, headers)
            loan.sound = True
            raise refusal
        return response

    def _unreachable(self, reason: str, attempt: str, cause: Exception) -> NoReturn:
        message = f"the model server is unreachable: {reason} ({attempt})"
        raise BackendTransportError(message, kind=self._kind, status=0, retryable=True) from cause

    async def _refusal(self, response: httpx.Response, attempt: str, sent: Mapping[str, str]) -> BackendTransportError:
        status, body = response.status_code, await read_error_body(response)
        for secret in _secrets_in(sent):
            body = body.replace(secret.encode(), b"***")  # some servers repeat the key that they refuse
        text = body.decode("utf-8", "replace")
        reason = refusal_reason(status, text)
        retryable = reason is None or reason in PASSING
        should_retry = response.headers.get("x-should-retry", "").lower()
        what = f"a redirect (status {status}), which is not followed" if 300 <= status < 400 else f"status {status}"
        return BackendTransportError(
            f"the model server answered with {what} ({attempt})",
            kind=self._kind,
            status=status,
            retryable=retryable and should_retry != "false" and status in self._policy.retry_statuses,
            body=body,
            retry_after_ms=retry_after_ms(response.headers, datetime.now(UTC)),
            reason=reason,
        )


def _reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "connecting took too long"
    if isinstance(error, httpx.ConnectError):
        return "no connection"
    return "the connection broke before an answer"


def _secrets_in(headers: Mapping[str, str]) -> Iterable[str]:
    """Return what may be a key in the headers of a request: all values but those that each request has."""
    ours = _headers(None)
    for name, value in headers.items():
        if name not in ours and name != "Idempotency-Key" and len(value) >= _SHORTEST_SECRET:
            yield value.removeprefix("Bearer ")


def _headers(api_key: str | None) -> dict[str, str]:
    headers = {
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",  # because compression would delay events
        "Content-Type": "application/json",
    }
    if api_key:
        if not (api_key.isascii() and api_key.isprintable() and api_key == api_key.strip()):
            raise SettingsError("the model server's API key has characters that do not fit into a header")
        headers["Authorization"] = f"Bearer {api_key}"
    return headers
