"""Sends a request to a model server until a 2xx response begins, with deadlines, back-off and typed failures."""

import asyncio
import logging
import random
from datetime import UTC, datetime
from typing import Final, NoReturn

import httpx

from shared.errors import SettingsError
from worker.backends.body import read_error_body
from worker.backends.errors import BackendTransportError
from worker.backends.retry import RetryPolicy, retry_after_ms

log = logging.getLogger(__name__)

# The deadline to headers and the longest silence are ours (RetryPolicy), as httpx has one `read` timeout for both.
# Waiting for a free connection counts as waiting for headers. Connecting never takes longer than 10 s.
_TIMEOUTS: Final = httpx.Timeout(connect=10.0, write=30.0, read=None, pool=None)
_LIMITS: Final = httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=30.0)


class Transport:
    """The way to one model server. Makes its HTTP client at the first request, in the running event loop.

    Args and errors: as for `OpenAIBackend`.
    """

    def __init__(
        self, base_url: str, api_key: str | None, policy: RetryPolicy, client: httpx.AsyncClient | None, kind: str
    ) -> None:
        self._url = _completions_url(base_url)
        self._headers = _headers(api_key)
        self._policy = policy
        self._client = client
        self._owns_client = client is None
        self._kind = kind

    async def aclose(self) -> None:
        """Close the connections, unless the client was given to us. May be called again."""
        client = self._client
        if self._owns_client and client is not None:
            self._client = None
            await client.aclose()

    async def open(self, body: bytes, idempotency_key: str) -> httpx.Response:
        """A 2xx response whose body is still to be read, and which the caller has to close.

        Raises:
            BackendTransportError: the last request got no response (status 0), or one that is not 2xx.
        """
        headers = {**self._headers, "Idempotency-Key": idempotency_key}
        attempt = 1
        while True:
            try:
                return await self._request(body, headers, attempt)
            except BackendTransportError as failure:
                if attempt == self._policy.max_attempts or not failure.retryable:
                    raise
                spread = random.random()  # noqa: S311 - spreads retries, protects nothing
                delay_ms = self._policy.delay_ms(attempt, failure.retry_after_ms, spread)
                log.warning("model call failed, again in %d ms: %s", delay_ms, failure)
            await asyncio.sleep(delay_ms / 1000)
            attempt += 1

    async def _request(self, body: bytes, headers: dict[str, str], attempt: int) -> httpx.Response:
        if self._client is None:
            self._client = httpx.AsyncClient(limits=_LIMITS, timeout=_TIMEOUTS)
        client, timeout_ms = self._client, self._policy.request_timeout_ms
        request = client.build_request("POST", self._url, content=body, headers=headers, timeout=_TIMEOUTS)
        try:
            # Not wait_for: on Python 3.11 it can swallow the cancellation of a turn.
            async with asyncio.timeout(timeout_ms / 1000 if timeout_ms else None):
                response = await client.send(request, stream=True)
        except TimeoutError as error:
            self._unreachable(f"no answer within {timeout_ms} ms", attempt, error)
        except httpx.ConnectTimeout as error:
            self._unreachable("connecting took too long", attempt, error)
        except httpx.ConnectError as error:
            self._unreachable("no connection", attempt, error)
        except httpx.TransportError as error:
            self._unreachable("the connection broke before an answer", attempt, error)
        if not response.is_success:
            raise await self._refusal(response, attempt)
        return response

    def _unreachable(self, reason: str, attempt: int, cause: Exception) -> NoReturn:
        message = f"the model server is unreachable: {reason} ({self._count(attempt)})"
        raise BackendTransportError(message, kind=self._kind, status=0, retryable=True) from cause

    async def _refusal(self, response: httpx.Response, attempt: int) -> BackendTransportError:
        status = response.status_code
        return BackendTransportError(
            f"the model server answered with status {status} ({self._count(attempt)})",
            kind=self._kind,
            status=status,
            retryable=status in self._policy.retry_statuses,
            body=await read_error_body(response),
            retry_after_ms=retry_after_ms(response.headers, datetime.now(UTC)),
        )

    def _count(self, attempt: int) -> str:
        return f"attempt {attempt} of {self._policy.max_attempts}"


def _completions_url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise SettingsError("the model server's base URL is not a URL") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise SettingsError("the model server's base URL must begin with http:// or https:// and name a host")
    return url.copy_with(path=url.path.rstrip("/") + "/chat/completions")


def _headers(api_key: str | None) -> dict[str, str]:
    headers = {
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",  # compression would hold events back
        "Content-Type": "application/json",
    }
    if api_key:
        if not (api_key.isascii() and api_key.isprintable() and api_key == api_key.strip()):
            raise SettingsError("the model server's API key holds characters that no header can carry")
        headers["Authorization"] = f"Bearer {api_key}"
    return headers
