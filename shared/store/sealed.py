"""The store of a deployment whose content is encrypted: it seals what goes to Redis, and opens what comes back."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from redis.asyncio import Redis

from turnwire.shared.codec import Codec, codec_of
from turnwire.shared.errors import ContentUnreadable, StoreLost
from turnwire.shared.events import Cursor, Entry
from turnwire.shared.keys import TurnKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Claimed, Signal, StepRecord
from turnwire.shared.replies import Cancelled, GivenUp, Settled, Signalled
from turnwire.shared.request import TurnRequest
from turnwire.shared.settings import Settings
from turnwire.shared.store.scripts import Arg
from turnwire.shared.store.sealing import Sealing
from turnwire.shared.store.turns import TurnStore


def turn_store(redis: Redis, settings: Settings) -> TurnStore:
    """Return the store for these settings.

    Raises:
        SettingsError: there is no such codec, or its keys cannot be read.
    """
    codec = codec_of(settings)
    return TurnStore(redis, settings) if codec is None else SealedStore(redis, settings, codec)


@contextmanager
def _or_given_back(claimed: Claimed) -> Generator[None]:
    """A worker that cannot seal gives its turn back. Whoever can read the turn then runs it."""
    try:
        yield
    except ContentUnreadable as error:
        raise StoreLost(f"turn {claimed.key.run_id} cannot be stored: {error}") from error


class SealedStore(TurnStore):
    """A TurnStore whose methods take and return open content. Beside what TurnStore raises:

    Raises:
        ContentUnreadable: the codec has no key for the tenant, or not the one that the content needs.
        StoreLost: the same, for the writes of an attempt: the turn is given back, and is not lost.
    """

    def __init__(self, redis: Redis, settings: Settings, codec: Codec) -> None:
        super().__init__(redis, settings)
        self.sealing = Sealing(codec)
        self.open_event = self.sealing.open_event

    def _stored_fields(self, key: TurnKey, request: TurnRequest) -> Mapping[str, str | bytes]:
        return self.sealing.seal_fields(key, request.fields())

    def _opened(self, key: TurnKey, fields: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        return self.sealing.open_fields(key, fields)

    def _opened_events(self, key: TurnKey, events: list[bytes]) -> list[bytes]:
        return [self.sealing.open_event(key, event) for event in events]

    def _opened_grant(self, key: TurnKey, granted: Sequence[Any]) -> Sequence[Any]:
        next_seq, now_ms, first_event, fields, steps, rows, cut, waited_ms = granted
        opened = self._opened(key, dict(zip(fields[::2], fields[1::2], strict=True)))
        flat_fields = [part for pair in opened.items() for part in pair]
        return [next_seq, now_ms, first_event, flat_fields, self._opened_steps(key, steps), rows,
                self._opened_events(key, cut), waited_ms]  # fmt: skip

    def _opened_steps(self, key: TurnKey, steps: Sequence[bytes]) -> list[bytes]:
        opened = list(steps)
        for place in range(0, len(opened), 2):
            if opened[place] == b"history":
                opened[place + 1] = self.sealing.open(key, opened[place + 1])
            else:
                step = msgspec.json.decode(opened[place + 1], type=StepRecord)
                opened[place + 1] = msgspec.json.encode(self.sealing.open_step(key, step))
        return opened

    async def append_many(self, appends: Sequence[tuple[Claimed, int, Sequence[bytes]]]) -> list[Exception | None]:
        """See AttemptWrites."""
        sealed: list[tuple[Claimed, int, Sequence[bytes]]] = []
        errors: dict[int, Exception] = {}
        for place, (claimed, seq, events) in enumerate(appends):
            try:
                with _or_given_back(claimed):
                    sealed.append((claimed, seq, self.sealing.seal_events(claimed.key, events)))
            except StoreLost as error:
                errors[place] = error
        replies = iter(await super().append_many(sealed))
        return [errors[place] if place in errors else next(replies) for place in range(len(appends))]

    async def checkpoint(
        self,
        claimed: Claimed,
        step: StepRecord,
        history: bytes = b"",
        *,
        next_seq: int = 0,
        number: int = 0,
        known: int = 0,
    ) -> None:
        """See AttemptWrites."""
        with _or_given_back(claimed):
            step, history = self.sealing.seal_step(claimed.key, step), self._sealed_history(claimed, history)
        await super().checkpoint(claimed, step, history, next_seq=next_seq, number=number, known=known)

    def _sealed_history(self, claimed: Claimed, history: bytes) -> bytes:
        return self.sealing.seal(claimed.key, history) if history else history

    async def settle(
        self,
        claimed: Claimed,
        status: TurnState,
        seq: int,
        events: Sequence[bytes],
        fields: Mapping[str, Arg],
        used: bytes = b"",
        *,
        known: int = 0,
        step: StepRecord | None = None,
    ) -> Settled:
        """See AttemptWrites."""
        with _or_given_back(claimed):
            events = self.sealing.seal_events(claimed.key, events)
            fields = self.sealing.seal_fields(claimed.key, fields)
            step = None if step is None else self.sealing.seal_step(claimed.key, step)
        return await super().settle(claimed, status, seq, events, fields, used, known=known, step=step)

    async def suspend(
        self,
        claimed: Claimed,
        signal: str,
        timeout_ms: int | None,
        seq: int,
        event: bytes,
        used: bytes = b"",
        history: bytes = b"",
        *,
        known: int = 0,
    ) -> Signal | GivenUp:
        """See AttemptWrites. The event of the suspension holds no content."""
        with _or_given_back(claimed):
            history = self._sealed_history(claimed, history)
        stored = await super().suspend(claimed, signal, timeout_ms, seq, event, used, history, known=known)
        if isinstance(stored, GivenUp):
            return stored
        with _or_given_back(claimed):
            payload = msgspec.Raw(self.sealing.open_json(claimed.key, bytes(stored.payload)))
        return msgspec.structs.replace(stored, payload=payload)

    async def signal(
        self,
        key: TurnKey,
        signal: str,
        payload: bytes,
        max_signals: int | None = None,
        *,
        user: str | None = None,
        entry: bytes | None = None,
    ) -> Signalled:
        """See TurnStore."""
        sealed = self.sealing.seal_json(key, payload)
        signalled = await super().signal(key, signal, sealed, max_signals, user=user, entry=entry)
        return msgspec.structs.replace(signalled, stored=self.sealing.open_signal(key, signalled.stored))

    async def cancel(
        self,
        key: TurnKey,
        reason: str = "",  # noqa: ARG002
        *,
        repeated: bool = False,
        user: str | None = None,
    ) -> Cancelled:
        """See TurnStore. The reason is dropped, because scripts would write it into messages."""
        return await super().cancel(key, "", repeated=repeated, user=user)

    async def keep_step(self, key: TurnKey, attempt: int, step: StepRecord) -> None:
        """See TurnStore."""
        await super().keep_step(key, attempt, self.sealing.seal_step(key, step))

    async def persisted(self, key: TurnKey, final_text: str) -> bool:
        """See TurnStore."""
        return await super().persisted(key, self.sealing.seal(key, final_text).decode())

    async def untransformed(self, key: TurnKey) -> str | None:
        """See TurnReads."""
        text = await super().untransformed(key)
        return None if text is None else self.sealing.open(key, text.encode()).decode()

    async def steps(self, key: TurnKey) -> dict[int | str, StepRecord]:
        """See TurnReads."""
        steps = await super().steps(key)
        return {position: self.sealing.open_step(key, step) for position, step in steps.items()}

    async def read(self, key: TurnKey, after: Cursor | None, limit: int = 500) -> list[Entry]:
        """See TurnReads."""
        return self.sealing.open_entries(key, await super().read(key, after, limit))
