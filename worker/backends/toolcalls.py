"""Puts streamed tool calls together from their fragments. It does no I/O."""

from typing import Any, Final

import msgspec

MAX_TOTAL_BYTES: Final = 1024 * 1024
_CALL_OVERHEAD_BYTES: Final = 64


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class ToolCallDelta(msgspec.Struct):
    """One fragment, as servers send it. OpenAI sends `index` always, `id` and `name` once; other servers may not."""

    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Call(msgspec.Struct):
    id: str
    name: str
    arguments: list[str]


class ToolCalls:
    """The tool calls of one answer, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}
        self._total_bytes = 0

    def add(self, delta: ToolCallDelta) -> dict[str, Any]:
        """Add a fragment. Returns the payload of its `tool.call.delta` event.

        Raises:
            ValueError: the calls of this answer have more than 1 MiB together.
        """
        function = delta.function or _Function()
        fragment = _arguments(function.arguments)
        position = self._position(delta, function.name)
        call = self._calls[position]
        call.id = call.id or delta.id or ""
        call.name = call.name or function.name or ""  # some servers repeat the name in every fragment
        call.arguments.append(fragment)
        self._grow(len(fragment))
        return {"index": position, "id": call.id or None, "name": call.name or None, "arguments": fragment}

    def complete(self) -> list[dict[str, Any]]:
        """Return the payload of a `tool.call` event for each call. For a call without an id, the position makes one.

        Raises:
            ValueError: a call has no name, so it cannot be made.
        """
        if any(not call.name for call in self._calls):
            raise ValueError("a tool call has no name")
        return [
            {"id": call.id or f"call-{position}", "name": call.name, "arguments": "".join(call.arguments)}
            for position, call in enumerate(self._calls)
        ]

    def _position(self, delta: ToolCallDelta, name: str | None) -> int:
        if delta.id and delta.id in self._by_id:
            return self._by_id[delta.id]
        known = self._known(delta, name)
        if known is None or (delta.id and self._calls[known].id):
            # An unknown id is a new call, even at an index in use: some servers number every call 0.
            self._calls.append(_Call("", "", []))
            self._grow(_CALL_OVERHEAD_BYTES + len(delta.id or "") + len(name or ""))
            known = len(self._calls) - 1
        if delta.index is not None:
            self._by_index[delta.index] = known
        if delta.id:
            self._by_id[delta.id] = known
        return known

    def _known(self, delta: ToolCallDelta, name: str | None) -> int | None:
        if delta.index is not None:
            return self._by_index.get(delta.index)
        # Without an index and an id, a name begins a call, and anything else continues the latest one.
        return len(self._calls) - 1 if self._calls and not name else None

    def _grow(self, count: int) -> None:
        self._total_bytes += count
        if self._total_bytes > MAX_TOTAL_BYTES:
            raise ValueError("the tool calls of an answer are larger than 1 MiB")


def _arguments(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()  # some servers send an object
