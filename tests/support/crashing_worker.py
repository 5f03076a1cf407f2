"""`python -m tests.support.crashing_worker`: the ordinary worker, but at one of its writes it dies or loses the reply.

CRASH_AT=<write>:<n>:<mode> says where. The write is the name of a script, for a checkpoint with its intent
(`checkpoint.turn`), for a finish with its outcome (`finish.ended`). An extend or a take without jobs does not count.
The modes:

    before      the process kills itself instead of sending the n-th such write
    after       the process kills itself once the reply has arrived
    lost        the write is done, but the caller gets a ConnectionError, and all connections are closed

The process then prints `crash point reached`, so that a test knows that the fault really happened.
"""

import functools
import json
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any

from hiredis import Reader
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from tests.support.contracts import LUA, Contract, contract_of
from turnwire.shared.store import scripts
from turnwire.shared.store.courier import Command, Courier

NAMES = [
    path.name.removesuffix(".lua") for path in (files("turnwire.shared.store") / "lua").iterdir() if path.is_file()
]
BY_SCRIPT = {scripts.Script(name).sha.encode(): name for name in NAMES}
BY_SCRIPT |= {scripts.source(name).encode(): name for name in NAMES}
INJECTOR_BROKEN = 70  # the exit status of a worker whose injector failed


def unpacked(packed: bytes) -> list[bytes]:
    """Return the words of a command from its bytes. They have the form of an answer that is an array of strings."""
    reader = Reader()
    reader.feed(packed)
    words: list[bytes] = reader.gets()
    return words


@functools.cache
def contract(script: str) -> Contract:
    return contract_of((LUA / f"{script}.lua").read_text(encoding="utf-8"))


def argument(command: Sequence[bytes], script: str, name: str) -> bytes:
    """Return an argument of a script by the name that the script's contract gives it."""
    place = contract(script).fixed("ARGV").index(name)
    return command[3 + int(command[2]) + place]  # verb, sha, count; keys


def rest(command: Sequence[bytes], script: str) -> Sequence[bytes]:
    """Return the arguments after those that the script's contract names one by one."""
    return command[3 + int(command[2]) + len(contract(script).fixed("ARGV")) :]


def write_of(command: Sequence[bytes]) -> str | None:
    """Return the name of the write that this command is, or None if it is no write."""
    if command[0] not in {b"EVALSHA", b"EVAL"} or command[1] not in BY_SCRIPT:
        return None
    name = BY_SCRIPT[command[1]]
    if name == "checkpoint":
        return f"checkpoint.{json.loads(argument(command, name, 'record'))['intent']}"
    if name == "finish":
        return f"finish.{argument(command, name, 'outcome').decode()}"
    if name == "extend" and len(rest(command, name)) == 0:  # the heartbeat of a worker without jobs
        return None
    return name


def names_of(commands: Sequence[Sequence[bytes]]) -> list[str | None]:
    """Return the names of the writes in a round trip.

    The process ends if a command is not as expected, because the worker would take an exception for an error of Redis.
    """
    try:
        return [write_of(command) for command in commands]
    except Exception:
        traceback.print_exc()
        os._exit(INJECTOR_BROKEN)


class Fault:
    """A fault that waits for its write, then strikes once."""

    def __init__(self, write: str, count: int, mode: str) -> None:
        self.write, self.count, self.mode = write, count, mode
        self.seen: Counter[str] = Counter()
        self.struck = False

    async def around(
        self, pool: ConnectionPool, commands: Sequence[Sequence[bytes]], send: Callable[[], Awaitable[list[Any]]]
    ) -> list[Any]:  # fmt: skip
        """Send the commands of one round trip. Strikes if the fault's write is among them."""
        places = [place for place, name in enumerate(names_of(commands)) if name == self.write]
        if self.struck or not places:
            return await send()
        if self.mode == "before" and self.seen[self.write] == self.count - 1:
            self.die()
        replies = await send()
        if not any(self.happened(replies[place]) for place in places):
            return replies
        self.seen[self.write] += 1
        if self.seen[self.write] == self.count:
            if self.mode == "after":
                self.die()
            self.say()
            await break_idle_connections(pool)
            raise RedisConnectionError("reply lost")
        return replies

    def happened(self, reply: Any) -> bool:
        """Return whether the write was done: the server knew the script and, if it is a take, the take got a job."""
        return not isinstance(reply, NoScriptError) and not (self.write == "take" and len(reply) == 2)

    def die(self) -> None:
        self.say()
        os.kill(os.getpid(), signal.SIGKILL)

    def say(self) -> None:
        self.struck = True
        print(f"crash point reached: {self.write} {self.mode}", file=sys.stderr, flush=True)


async def break_idle_connections(pool: ConnectionPool) -> None:
    """Close the idle connections, each without waiting.

    `pool.disconnect` waits while a connection closes. A task that takes this connection from the pool meanwhile gets a
    RuntimeError from uvloop, which ends the worker. A lost reply alone would never cause that.
    """
    for connection in list(pool._available_connections):
        await connection.disconnect(nowait=True)


def plant(fault: Fault) -> None:
    """Put the fault between the program and Redis. All scripts go through couriers, so it is put there."""
    round_trip = Courier._round_trip

    async def faulty(self: Courier, batch: list[Command]) -> list[Any]:
        return await fault.around(
            self._pool, [unpacked(call.packed) for call in batch], lambda: round_trip(self, batch)
        )

    Courier._round_trip = faulty  # type: ignore[method-assign]


def plant_from_environment() -> None:
    write, count, mode = os.environ["CRASH_AT"].rsplit(":", 2)
    assert write.split(".")[0] in NAMES, write
    assert mode in {"before", "after", "lost"}, mode
    plant(Fault(write, int(count), mode))


if __name__ == "__main__":
    from turnwire.worker.__main__ import main

    plant_from_environment()
    sys.exit(main())
