"""Shorthand that makes turns and looks at them."""

from typing import Any

import msgspec
from redis.asyncio import Redis

from tests.support.expiry import expiries
from turnwire.shared.events import PART_UPDATED, encode_event
from turnwire.shared.keys import SessionKey, TurnKey, session_key
from turnwire.shared.model import Claimed, StepRecord
from turnwire.shared.replies import Submitted
from turnwire.shared.request import TurnRequest
from turnwire.shared.store.scripts import IndexMoved
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.run import TurnRunner

SESSION = session_key("demo")
KEY = SESSION.turn(0)
WORKER = "host/1/aaaaaa"
OTHER_WORKER = "host/2/bbbbbb"


def request(message: str = "hello", **fields: Any) -> TurnRequest:
    return TurnRequest(message=message, **fields)


def delta(text: str) -> bytes:
    """Return the canonical bytes of a text delta."""
    return encode_event(PART_UPDATED, {"part": {"type": "text"}, "delta": text})


def step(position: int, cursor: str, intent: str = "search", result: Any = None) -> StepRecord:
    raw = msgspec.Raw(msgspec.json.encode(result))
    return StepRecord(status="completed", cursor=cursor, index=position, intent=intent, kind="tool", result=raw)


async def claim(store: TurnStore, key: TurnKey = KEY, worker: str = WORKER) -> Claimed:
    """Claim a turn that can be claimed, for a worker that runs nothing else."""
    claimed = await store.claim(key, worker, company=1)
    assert isinstance(claimed, Claimed), claimed
    return claimed


async def submit_and_claim(store: TurnStore, key: TurnKey = KEY, worker: str = WORKER, **fields: Any) -> Claimed:
    await store.submit(key, request(**fields))
    return await claim(store, key, worker)


async def lose_lease(store: TurnStore, key: TurnKey = KEY) -> None:
    """Do what happens when the time of the lease is over."""
    assert await store.redis.delete(key.lease) == 1


async def renew(runner: TurnRunner, store: TurnStore) -> None:
    """Do what a heartbeat does for the leases of a runner's attempts."""
    held = runner.held()
    replies = await store.renew_many([claimed for _, claimed in held])
    for (attempt, claimed), reply in zip(held, replies, strict=True):
        runner.renewed(attempt, claimed, reply)


async def take_over(store: TurnStore, key: TurnKey = KEY, worker: str = OTHER_WORKER) -> Claimed:
    """End the lease, and let another worker claim the turn."""
    await lose_lease(store, key)
    return await claim(store, key, worker)


async def append(store: TurnStore, claimed: Claimed, seq: int, *events: bytes) -> None:
    """Append events. Raises the store's refusal, if there is one."""
    [error] = await store.append_many([(claimed, seq, events)])
    if error is not None:
        raise error


async def log_of(store: TurnStore, key: TurnKey = KEY) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the turn's whole log: (id, type, data) of each event."""
    events = [(entry.id.decode(), msgspec.json.decode(entry.event)) for entry in await store.read(key, None, 10_000)]
    return [(entry_id, event["type"], event["data"]) for entry_id, event in events]


def types_of(log: list[tuple[str, str, dict[str, Any]]]) -> list[str]:
    return [event_type for _, event_type, _ in log]


def seqs_of(log: list[tuple[str, str, dict[str, Any]]]) -> list[int]:
    return [int(entry_id.partition("-")[2]) for entry_id, _, _ in log]


async def snapshot(redis: Redis) -> dict[bytes, tuple[bytes, int]]:
    """Return every key with its content and when it expires. If two snapshots are equal, nothing was written."""
    names = sorted(await redis.keys("*"))
    ends = await expiries(redis, names)
    return {name: (await _content(redis, name), end) for name, end in zip(names, ends, strict=True)}


async def calls_of(redis: Redis, command: str) -> int:
    """Return how often the server has run a command since CONFIG RESETSTAT, also in scripts."""
    stats: dict[str, dict[str, int]] = await redis.info("commandstats")
    return stats.get(f"cmdstat_{command}", {"calls": 0})["calls"]


async def _content(redis: Redis, name: bytes) -> bytes:
    if await redis.type(name) == b"hash":  # a large one is a table, whose order may change by itself
        fields: dict[bytes, bytes] = await redis.hgetall(name)  # type: ignore[misc, arg-type]
        return repr(sorted(fields.items())).encode()
    content: bytes = await redis.dump(name)
    return content


async def submit_next(
    store: TurnStore, session: SessionKey, request: TurnRequest, idempotency_key: str = ""
) -> Submitted:
    """Submit as the API does it: read the next index, submit there, and try again if another client was quicker."""
    index = await store.next_index(session, idempotency_key)
    while True:
        try:
            return await store.submit_next(session.turn(index), request, idempotency_key)
        except IndexMoved as moved:
            index = moved.index
