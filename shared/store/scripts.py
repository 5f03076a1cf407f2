"""Loads the Lua files, runs them by digest, and turns their refusals into our errors.

Rule 1: every write to a turn or to the queue is one file in shared/store/lua, which opens with its contract.
Rule 2: every script may be sent again after a lost reply; the one that may not says so where it is loaded.
Rule 3: this is the only place where a Redis reply, or its absence, becomes an error of ours.
"""

import asyncio
import hashlib
import re
import zlib
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, TypeAlias

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from turnwire.shared.errors import (
    AttemptFenced,
    InputMismatch,
    LeaseHeld,
    NotFound,
    OpenTurnsLimit,
    QueueFull,
    RateLimited,
    SessionBusy,
    SessionLimit,
    SignalLimit,
    StoreUnavailable,
    TurnEnded,
    TurnLimit,
    TurnwireError,
    UnknownParent,
)
from turnwire.shared.metrics import counter
from turnwire.shared.store.courier import Courier

_FENCED_WRITES: Final = counter("turnwire_fenced_writes_total")


class IndexMoved(TurnwireError):
    """The next index of the session has changed meanwhile. The caller must hash the input again with `index`."""

    def __init__(self, index: str) -> None:
        super().__init__(f"the next index is {index}")
        self.index = int(index)


class LogBehind(TurnwireError):
    """The store has lost the last events that it had acknowledged. It has those before `next_seq`."""

    def __init__(self, next_seq: str) -> None:
        super().__init__(f"the store has lost the events from {next_seq} on")
        self.next_seq = int(next_seq)


class StepsBehind(TurnwireError):
    """The store has lost the last checkpoints that it had acknowledged. `stands`: number of the last one it has."""

    def __init__(self, stands: str) -> None:
        super().__init__(f"the store has lost the checkpoints after number {stands}")
        self.stands = int(stands)


REFUSALS: Final[dict[str, Callable[[str], TurnwireError]]] = {  # each is called with the rest of the refusal
    "FENCED": AttemptFenced,
    "GONE": AttemptFenced,
    "INPUT_MISMATCH": InputMismatch,
    "LEASE_HELD": LeaseHeld,
    "LOG_BEHIND": LogBehind,
    "MOVED": IndexMoved,
    "NOT_FOUND": NotFound,
    "OPEN_TURNS_LIMIT": OpenTurnsLimit,
    "QUEUE_FULL": QueueFull,
    "RATE_LIMITED": RateLimited.told,
    "SESSION_BUSY": SessionBusy,
    "SESSION_LIMIT": SessionLimit,
    "SIGNAL_LIMIT": SignalLimit,
    "STEPS_BEHIND": StepsBehind,
    "TURN_ENDED": TurnEnded,
    "TURN_LIMIT": TurnLimit,
    "UNKNOWN_PARENT": UnknownParent,
}

# A server that is restarting, failing over, full or read-only: it may take the same command later. redis-py has
# types for some of these errors. Of the others it keeps the text, where the code is the first word, or follows a dash.
_UNAVAILABLE_TYPES = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError, OSError, TimeoutError)
_UNAVAILABLE = re.compile(r"(?:^|-)(?:OOM|READONLY|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|MISCONF)\b")

_INCLUDE: Final = re.compile(r"^-- include: (.+)$", re.MULTILINE)
_BLOCK: Final = re.compile(
    r"^(?P<indent> +)-- include: (?P<parts>.+)\n(?P<block>(?:(?P=indent).*\n|\n)*)", re.MULTILINE
)
_COMMENT: Final = re.compile(r"^--.*\n|^ +--(?! include: ).*\n|  --(?! include: ).*$", re.MULTILINE)
_DEFINITION: Final = re.compile(
    r"^local (?:function )?(?P<name>\w+)(?:\(.*?^end$| = .*?(?=\nlocal |\n\n|\Z))", re.MULTILINE | re.DOTALL
)

Arg: TypeAlias = str | bytes | int
Call: TypeAlias = tuple[Sequence[str], Sequence[Arg]]  # keys, args


class Script:
    """One file in shared/store/lua. `repeat` and `lineage` are those of `Courier.send`."""

    def __init__(self, name: str, *, repeat: bool = True, lineage: bool = False) -> None:
        self.name = name
        self.repeat = repeat
        self.lineage = lineage
        text = source(name).encode()
        self.sha = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        self._packed = zlib.compress(text)  # a server needs it once, and every process would hold all the texts

    async def __call__(self, courier: Courier, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """Run the script.

        Raises:
            TurnwireError: the script refused, with one of the refusals that its contract names.
            StoreUnavailable: Redis did not answer in time, or cannot write now. The script may have run.
        """
        try:
            return await self._landed(courier, self._send(courier, keys, args), keys, args)
        except (RedisError, OSError, TimeoutError) as error:  # not in a `with typed_refusals()`: each write comes here
            raise typed(error) from error

    async def many(self, courier: Courier, calls: Sequence[Call]) -> list[Any]:
        """Run the script once for each (keys, args), in order, in as few round trips as possible.

        Returns: for each call, the reply, or the error that `__call__` would raise.
        """
        flights = [self._send(courier, *call) for call in calls]
        replies: list[Any] = []
        try:
            for flight, (keys, args) in zip(flights, calls, strict=True):
                try:
                    replies.append(await self._landed(courier, flight, keys, args))
                except Exception as error:  # noqa: BLE001 - the error of one call must not fail the others
                    replies.append(typed(error))
        finally:
            for flight in flights[len(replies) :]:
                flight.cancel()
        return replies

    def _send(self, courier: Courier, keys: Sequence[str], args: Sequence[Arg]) -> "asyncio.Future[Any]":
        trusted = 3 + len(keys)
        call = "EVALSHA", self.sha, len(keys), *keys, *args
        return courier.send(*call, repeat=self.repeat, lineage=self.lineage, trusted=trusted)

    async def _landed(
        self, courier: Courier, flight: "asyncio.Future[Any]", keys: Sequence[str], args: Sequence[Arg]
    ) -> Any:
        try:
            return await flight
        except NoScriptError:  # a new server, or one that restarted
            whole = "EVAL", zlib.decompress(self._packed), len(keys), *keys, *args
            return await courier.send(*whole, repeat=self.repeat, lineage=self.lineage)


def source(name: str) -> str:
    """Return the text of a script, behind what it needs of the parts that its `-- include:` line names.

    A block may have such a line, too, for what is rarely needed: it is made when the block runs, and not before.
    """
    text = (_folder() / f"{name}.lua").read_text(encoding="utf-8")
    include = _INCLUDE.search(text)
    return _with_needed(text, include[1] if include else "")[0]


def _with_needed(text: str, parts: str, indent: str = "") -> tuple[str, set[str]]:
    """Put those functions and constants of the parts before the text that it needs, or that these need themselves.

    Redis runs the whole text with each call, so it makes every function anew each time, also those that nobody calls.

    Returns: the whole text; and the words in it, without the names that are defined before it.
    """
    text, words = _with_blocks(text)
    for name, definition in reversed([found for part in parts.split() for found in _definitions(part)]):
        if name in words:
            added, more = _with_blocks(definition + "\n")
            text = re.sub("^(?=.)", indent, added, flags=re.MULTILINE) + text
            words = (words | more) - {name}
    return text, words


def _with_blocks(text: str) -> tuple[str, set[str]]:
    """Do the same in each block of the text that has an `-- include:` line."""
    done, words, end = "", set[str](), 0
    for found in _BLOCK.finditer(text):
        block, more = _with_needed(found["block"], found["parts"], found["indent"])
        done += text[end : found.start()] + block
        words |= more | _words(text[end : found.start()])
        end = found.end()
    return done + text[end:], words | _words(text[end:])


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", _COMMENT.sub("", text)))


@cache
def _definitions(part: str) -> list[tuple[str, str]]:
    """The name and the text of each definition in a part."""
    text = (_folder() / "parts" / f"{part}.lua").read_text(encoding="utf-8")
    return [(found["name"], found[0]) for found in _DEFINITION.finditer(_COMMENT.sub("", text))]


def _folder() -> Traversable:
    return files("turnwire.shared.store") / "lua"


@contextmanager
def typed_refusals() -> Generator[None]:
    """Turn the errors of redis-py into ours. An error that has no counterpart is a bug, and is raised as it is."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise typed(error) from error


@asynccontextmanager
async def answered_within(timeout_s: float) -> AsyncGenerator[None]:
    """Like `typed_refusals`; raise StoreUnavailable after `timeout_s` seconds, because Redis may hang."""
    with typed_refusals():
        async with asyncio.timeout(timeout_s):
            yield


def typed(error: Exception) -> Exception:
    """Return our error for one of redis-py. If there is none, return the same error, because it shows a bug."""
    if isinstance(error, _UNAVAILABLE_TYPES):
        return StoreUnavailable("the store does not answer")
    if isinstance(error, ResponseError):
        code, _, reason = str(error).partition(" ")
        if code in REFUSALS:
            if code == "FENCED":
                _FENCED_WRITES.add()
            return REFUSALS[code](reason)
        if _UNAVAILABLE.search(str(error)):
            return StoreUnavailable("the store cannot write now")
    return error
