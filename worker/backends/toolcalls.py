"""Puts streamed tool calls together from their fragments. It does no I/O."""

from typing import Any, Final

import msgspec

from turnwire.worker.backends.chunk import fields_of
from turnwire.worker.backends.surrogates import PairJoiner, without_surrogates

MAX_TOTAL_BYTES: Final = 1024 * 1024
_CALL_OVERHEAD_BYTES: Final = 64
_READ: Final = frozenset({"index", "id", "type", "function"})


class _Fragment(msgspec.Struct):
    """One fragment. OpenAI sends `index` always, `id` and `name` once; other servers may not."""

    index: int | None
    id: str
    name: str
    arguments: str
    extra: dict[str, Any]


class _Call(msgspec.Struct):
    server_id: str
    id: str = ""
    name: str = ""
    arguments: list[str] = []
    extra: dict[str, Any] = {}
    joiner: PairJoiner = msgspec.field(default_factory=PairJoiner)

    @property
    def text(self) -> str:
        return "".join(self.arguments)

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are a whole JSON object already."""
        return bool(self.arguments) and self.arguments[-1].endswith("}") and is_json_object(self.text)


class ToolCalls:
    """The tool calls of one answer, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}
        self._total_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._calls)

    @property
    def are_whole(self) -> bool:
        """Whether the arguments of each call are a JSON object. They are not if the answer was cut inside a call."""
        return all(is_json_object(call.text or "{}") for call in self._calls)

    def add(self, fragment: Any) -> dict[str, Any] | None:
        """Add a fragment as the server sent it. Returns the payload of its `tool.call.delta` event.

        Something that is not an object is no fragment: for it the result is None.

        Raises:
            ValueError: the calls of this answer have more than 1 MiB together.
        """
        if not isinstance(fragment, dict):
            return None
        read = _read(fragment)
        position, begins = self._position(read)
        call = self._calls[position]
        call.id = call.id or self._unique(read.id)
        call.name = call.name or read.name  # some servers repeat the name in every fragment
        call.extra |= read.extra
        # An empty object at the beginning stands for arguments that follow, or for none.
        arguments = "" if begins and read.arguments.strip() == "{}" else call.joiner.take(read.arguments)
        if arguments:
            call.arguments.append(arguments)
        self._grow(len(arguments) + (len(str(read.extra)) if read.extra else 0))
        return {"index": position, "id": call.id or None, "name": call.name or None, "arguments": arguments}

    def complete(self) -> list[dict[str, Any]]:
        """Return the payload of a `tool.call` event for each call. For a call without an id, the position makes one.

        `arguments` is JSON text, `{}` if the model sent none. `extra`, if it is there, holds the other fields of the
        call, which the server wants back.

        Raises:
            ValueError: a call has no name, so it cannot be made.
        """
        if any(not call.name for call in self._calls):
            raise ValueError("a tool call has no name")
        calls = []
        for position, call in enumerate(self._calls):
            arguments = call.text + call.joiner.rest()
            payload = {
                "id": call.id or self._unique(f"call-{position}"),
                "name": call.name,
                "arguments": arguments if arguments.strip() else "{}",
            }
            calls.append(payload | {"extra": call.extra} if call.extra else payload)
        return calls

    def _position(self, fragment: _Fragment) -> tuple[int, bool]:
        """Return the position of the fragment's call, and whether the fragment begins that call."""
        known = self._known(fragment)
        if known is not None and self._begins_another(self._calls[known], fragment):
            known = None
        begins = known is None
        if known is None:
            self._calls.append(_Call(fragment.id, arguments=[], extra={}))
            self._grow(_CALL_OVERHEAD_BYTES + len(fragment.id) + len(fragment.name))
            known = len(self._calls) - 1
        if fragment.index is not None:
            self._by_index[fragment.index] = known
        if fragment.id:
            self._by_id[fragment.id] = known
            self._calls[known].server_id = fragment.id
        return known, begins

    def _known(self, fragment: _Fragment) -> int | None:
        """Return the position of the call that the fragment names, as far as its index and its id say."""
        if fragment.index is not None:
            known = self._by_index.get(fragment.index)
            if known is None:
                return None  # the same id at another index is another call: some servers send the name as the id
            other = fragment.id and self._calls[known].server_id not in {"", fragment.id}
            return self._by_id.get(fragment.id) if other else known  # some servers number every call 0
        if fragment.id:
            goes_on = self._calls and not fragment.name and not self._calls[-1].server_id
            return self._by_id.get(fragment.id, len(self._calls) - 1 if goes_on else None)
        # Without an index and an id, a name begins a call, and anything else continues the latest one.
        return len(self._calls) - 1 if self._calls and not fragment.name else None

    @staticmethod
    def _begins_another(call: _Call, fragment: _Fragment) -> bool:
        """Whether a fragment at the place of a known call begins a call of its own: some servers reuse the place."""
        if fragment.name and call.name and fragment.name != call.name:
            return not call.arguments or call.is_whole
        return fragment.arguments.lstrip().startswith("{") and call.is_whole

    def _unique(self, call_id: str) -> str:
        """Return the id, or another one if a call has it already: the results of calls are told apart by their ids."""
        taken = {call.id for call in self._calls}
        unique, number = call_id, len(self._calls) - 1
        while unique and unique in taken:
            unique, number = f"{call_id}-{number}", number + 1
        return unique

    def _grow(self, count: int) -> None:
        self._total_bytes += count
        if self._total_bytes > MAX_TOTAL_BYTES:
            raise ValueError("the tool calls of an answer are larger than 1 MiB")


def is_json_object(text: str) -> bool:
    """Whether the text is one whole JSON object."""
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False


def _read(fragment: dict[str, Any]) -> _Fragment:
    function = fields_of(fragment.get("function"))
    name = function.get("name")
    extra = {key: value for key, value in fragment.items() if key not in _READ and value not in (None, "", [], {})}
    return _Fragment(
        _index(fragment.get("index")),
        _id(fragment.get("id")),
        without_surrogates(name) if isinstance(name, str) else "",
        _arguments(function.get("arguments")),
        extra,
    )


def _index(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if type(value) is int else None


def _id(value: Any) -> str:
    if type(value) is int:
        return str(value)
    return without_surrogates(value) if isinstance(value, str) else ""


def _arguments(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()  # some servers send an object
