"""The public keys of an identity provider (JWKS, RFC 7517): fetched, kept, and fetched again.

A set is used for ten minutes and then fetched again in the background. While that fails, it is used for an hour in all.
Then no token can be verified, and requests are answered with 503. A key id that is not in the set may be a new one, so
the set is fetched at once; but not again within ten seconds, because anybody can invent key ids.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import httpx
import msgspec
from jwt import PyJWK

from turnwire.api.access.errors import INVALID, KeysUnavailable, Unauthenticated
from turnwire.api.access.verified import verification

FRESH_S: Final = 600.0
USABLE_S: Final = 3600.0
PAUSE_S: Final = 10.0  # between two fetches, whatever is asked for
TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 1_048_576

logger = logging.getLogger(__name__)


class _Document(msgspec.Struct):
    keys: list[dict[str, Any]]


class KeySet:
    """The key set behind one URL."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._clock = clock
        self._transport = transport
        self._keys: list[dict[str, Any]] = []
        self._fetched_s = -USABLE_S
        self._tried_s = -PAUSE_S
        self._fetch: asyncio.Task[None] | None = None

    @property
    def generation(self) -> object:
        """An object that is replaced by another one when the keys change."""
        return self._keys

    def is_usable(self) -> bool:
        """Whether the keys are new enough to verify tokens. Keys that begin to age are fetched in the background."""
        age_s = self._clock() - self._fetched_s
        if age_s >= FRESH_S:
            self._begin()
        return age_s < USABLE_S

    async def key(self, key_id: object, algorithm: str) -> Any:
        """Return the public key with which tokens of this key id and this algorithm are verified.

        Raises:
            Unauthenticated: the provider has no such key.
            KeysUnavailable: the keys, or those that are new, cannot be fetched.
        """
        if not self.is_usable():
            await self._fetched()
        if not self.is_usable():
            raise KeysUnavailable("the keys of the identity provider cannot be fetched")
        found = self._find(key_id, algorithm)
        if found is None:
            await self._fetched()
            found = self._find(key_id, algorithm)
        if found is None and self._tried_s > self._fetched_s:  # the last fetch has failed, so the key may be a new one
            raise KeysUnavailable("the keys of the identity provider cannot be fetched")
        if found is None:
            raise Unauthenticated(INVALID)
        return found

    async def close(self) -> None:
        """Stop fetching."""
        if self._fetch:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)

    def _find(self, key_id: object, algorithm: str) -> Any:
        fitting = [key for key in self._keys if _fits(key, key_id, algorithm)]
        if len(fitting) != 1:  # a token without a key id must not choose between several keys
            return None
        with verification():
            return PyJWK(fitting[0], algorithm)  # bound to this algorithm, so that none can be mistaken for another

    async def _fetched(self) -> None:
        """Wait for a fetch that was begun now, or that is under way; not at all within the pause."""
        self._begin()
        if self._fetch:
            await asyncio.shield(self._fetch)  # others may wait for it, too

    def _begin(self) -> None:
        now_s = self._clock()
        if self._fetch is None and now_s - self._tried_s >= PAUSE_S:
            self._tried_s = now_s
            self._fetch = asyncio.create_task(self._get(), name="fetch the key set")
            self._fetch.add_done_callback(self._ended)

    def _ended(self, _: "asyncio.Task[None]") -> None:
        self._fetch = None

    async def _get(self) -> None:
        try:
            keys = msgspec.json.decode(await self._body(), type=_Document).keys
        except (
            httpx.HTTPError, httpx.InvalidURL, ImportError, OSError, msgspec.MsgspecError, ValueError, RecursionError,
        ) as error:  # fmt: skip
            logger.warning("the keys of the identity provider could not be fetched: %s", type(error).__name__)
            return
        self._fetched_s = self._clock()
        if keys != self._keys:
            logger.info("the identity provider has %d keys", len(keys))
            self._keys = keys

    async def _body(self) -> bytes:
        # The certificates that it trusts are read from the disk.
        made = await asyncio.to_thread(httpx.AsyncClient, timeout=TIMEOUT_S, transport=self._transport)
        async with (
            asyncio.timeout(TIMEOUT_S),
            made as client,
            client.stream("GET", self._url, headers={"accept": "application/json"}) as answer,
        ):
            answer.raise_for_status()
            body = b""
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > MAX_BYTES:
                    raise ValueError("the key set is too large")
            return body


def _fits(key: dict[str, Any], key_id: object, algorithm: str) -> bool:
    if key_id is not None and key.get("kid") != key_id:
        return False
    if key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
        return False
    uses = key.get("key_ops", ["verify"])
    return isinstance(uses, list) and "verify" in uses and _TYPES.get(algorithm[:2]) == key.get("kty")


_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
