"""Sends a request to a model server, and repeats it until a 2xx response begins, with deadlines and back-off."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import NoReturn

import httpx

from turnwire.shared.errors import SettingsError
from turnwire.worker.backends.body import read_error_body
from turnwire.worker.backends.clients import TIMEOUTS, Clients, Loan
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.backends.retry import RetryPolicy, retry_after_ms

logger = logging.getLogger(__name__)


class Transport:
    """The connections to one model server. The HTTP client is made at the first request, in the running event loop.

    Arguments and errors are those of `OpenAIBackend`.
    """

    def __init__(
        self, base_url: str, api_key: str | None, policy: RetryPolicy, client: httpx.AsyncClient | None, kind: str
    ) -> None:
        self._url = _completions_url(base_url)
        self._headers = _headers(api_key)
        self._policy = policy
        self._clients = Clients(client)
        self._kind = kind

    async def aclose(self) -> None:
        """Close the connections, unless the client was given by the caller. It may be called again."""
        await self._clients.aclose()

    @asynccontextmanager
    async def exchange(
        self, body: bytes, idempotency_key: str, headers: Mapping[str, str]
    ) -> AsyncGenerator[httpx.Response]:
        """Send a request until a 2xx response begins. The caller reads the body, which is closed at the block's end.

        `headers` are sent besides those that each request has.

        Raises:
            BackendTransportError: the last request got no response (status 0), or a response that is not 2xx.
        """
        headers = {**self._headers, **headers, "Idempotency-Key": idempotency_key}
        attempt = 1
        while True:
            async with self._clients.lend() as loan:
                try:
                    response = await self._request(loan, body, headers, attempt)
                except BackendTransportError as failure:
                    if attempt == self._policy.max_attempts or not failure.retryable:
                        raise
                    delay_ms = self._delay_ms(attempt, failure)
                    logger.warning("a model call failed, it is repeated in %d ms: %s", delay_ms, failure)
                else:
                    async with aclosing(response):
                        yield response
                        loan.sound = response.is_closed  # httpx closes it when it was read to its end
                    return
            await asyncio.sleep(delay_ms / 1000)
            attempt += 1

    async def _request(self, loan: Loan, body: bytes, headers: dict[str, str], attempt: int) -> httpx.Response:
        client, timeout_ms = loan.client, self._policy.request_timeout_ms
        request = client.build_request("POST", self._url, content=body, headers=headers, timeout=TIMEOUTS)
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
            refusal = await self._refusal(response, attempt)
            loan.sound = True
            raise refusal
        return response

    def _delay_ms(self, attempt: int, failure: BackendTransportError) -> int:
        spread = random.random()  # noqa: S311 - spreads retries, protects nothing
        return self._policy.delay_ms(attempt, failure.retry_after_ms, spread)

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


def _reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "connecting took too long"
    if isinstance(error, httpx.ConnectError):
        return "no connection"
    return "the connection broke before an answer"


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
        "Accept-Encoding": "identity",  # because compression would delay events
        "Content-Type": "application/json",
    }
    if api_key:
        if not (api_key.isascii() and api_key.isprintable() and api_key == api_key.strip()):
            raise SettingsError("the model server's API key has characters that do not fit into a header")
        headers["Authorization"] = f"Bearer {api_key}"
    return headers
