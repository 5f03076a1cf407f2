"""The tokens that were revoked before their time, on the data Redis."""

from typing import Any, Final

from turnwire.shared import channels, keys
from turnwire.shared.settings import Settings
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.scripts import Script, typed_refusals

REVOKE: Final = Script("revoke")
CLOCKS_MS: Final = 60_000  # a token may count for longer than it should, because the clocks of machines differ


class Revocations:
    """Typed access to them. Methods raise StoreUnavailable when Redis does not answer, and may then be repeated."""

    def __init__(self, redis: Any, settings: Settings) -> None:
        self._courier = Courier(redis, settings.redis_timeout_s, replicas=settings.redis_replicas)
        self.channel = channels.revoked_channel(settings.deployment_name)

    async def add(self, revocation: str, keep_s: int) -> int:
        """Revoke what `revocation` names, for tokens that live for so many seconds at most.

        Returns when it was revoked, in ms of Redis time.
        """
        keep_ms = keep_s * 1000 + CLOCKS_MS
        return int(await REVOKE(self._courier, [keys.REVOKED], [self.channel, revocation, keep_ms]))

    async def current(self) -> dict[str, float]:
        """Return what is revoked, and when each was revoked last, in seconds since 1970.

        A member that another version has written and this one cannot read is left out.
        """
        with typed_refusals():
            found = await self._courier.send("ZRANGE", keys.REVOKED, 0, -1)
        revoked: dict[str, float] = {}
        for member in found:
            name, _, at_ms = member.rpartition(b"@")
            if at_ms.isdigit():
                field = name.decode(errors="replace")
                revoked[field] = max(revoked.get(field, 0.0), int(at_ms) / 1000)
        return revoked
