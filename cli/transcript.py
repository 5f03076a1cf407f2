"""Folds the events of a turn into what a reader sees: pieces of text, and notes about everything else.

It writes nothing and knows no terminal, so that every rule of it can be tested by itself.
"""

import json
from typing import Any, Final, NamedTuple

from turnwire.cli.following import Event
from turnwire.cli.screen import duration, in_a_line, visible

TEXT, REASONING, NOTE, ERROR = "text", "reasoning", "note", "error"

# Their content comes in another event, or has no use for a person.
_SILENT: Final = frozenset({"tool.call.delta", "reasoning.details", "session.run.completed", "session.run.failed"})
_RESUMED: Final = {
    "lease_expired": "takeover: the worker died or lost its lease, and attempt {attempt} has taken the turn over",
    "handover": "handover: the worker was stopped, and attempt {attempt} continues the turn",
    "retry": "the turn was asked again: attempt {attempt}",
    "signal": "the signal has come, or its time is up: attempt {attempt} continues the turn",
    "store_lost": "Redis came back without its last writes: attempt {attempt} continues the turn",
    "diverged": "the producer began another answer: attempt {attempt}",
}


class Piece(NamedTuple):
    """Something to show: a piece of the answer's text, a piece of the reasoning, or a line about what happened."""

    kind: str
    text: str


class _Delta(NamedTuple):
    cursor: tuple[int, int]
    part: str
    text: str
    replaces: bool


class Transcript:
    """What stands of a turn so far."""

    def __init__(self, session: str, index: int) -> None:
        self._turn = f"{session} {index}"
        self._deltas: list[_Delta] = []
        self._final: str | None = None
        self.outcome: Event | None = None  # the terminal event

    @property
    def text(self) -> str:
        """The answer as it stands: what `result` said, or the deltas of each part, in the order of the parts."""
        return self._streamed if self._final is None else self._final

    @property
    def _streamed(self) -> str:
        parts: dict[str, str] = {}
        for delta in self._deltas:
            parts[delta.part] = delta.text if delta.replaces else parts.get(delta.part, "") + delta.text
        return "".join(parts.values())

    def take(self, event: Event) -> list[Piece]:
        """Take the next event. Returns what is new to see."""
        kind, data = event["type"], event["data"]
        if kind == "message.part.updated":
            return self._part(event, data)
        if kind == "result":
            return self._result(data)
        if kind == "session.run.resumed":
            return self._resumed(data)
        if kind in {"session.run.completed", "session.run.failed"}:
            self.outcome = event
        if kind == "reasoning.delta":
            return [Piece(REASONING, visible(data.get("delta", "")))]
        if kind == "error":
            again = ", asking again may help" if data.get("retryable") else ""
            return [Piece(ERROR, f"{visible(data.get('code'))}: {visible(data.get('message'))}{again}")]
        return [] if kind in _SILENT else [Piece(NOTE, self._about(kind, data))]

    def _part(self, event: Event, data: dict[str, Any]) -> list[Piece]:
        part = data.get("part") or {}
        if part.get("type") != "text":
            return [Piece(NOTE, in_a_line(f"part {json.dumps(part, ensure_ascii=False)}"))]
        cursor, name = _cursor(event.get("id")), str(part.get("id", ""))
        if "text" not in part:
            text = str(data.get("delta", ""))
            self._deltas.append(_Delta(cursor, name, text, replaces=False))
            return [Piece(TEXT, visible(text))]
        before = self._streamed
        self._deltas.append(_Delta(cursor, name, str(part["text"]), replaces=True))
        return _changed(before, self._streamed)

    def _result(self, data: dict[str, Any]) -> list[Piece]:
        before, self._final = self._streamed, str(data.get("finalText", ""))
        return _changed(before, self._final)

    def _resumed(self, data: dict[str, Any]) -> list[Piece]:
        before = len(self._streamed)
        self._final = None
        if data.get("after"):
            stands = _cursor(data["after"])
            self._deltas = [delta for delta in self._deltas if delta.cursor <= stands]
        dropped = before - len(self._streamed)
        form = _RESUMED.get(str(data.get("reason")), "attempt {attempt} continues the turn ({reason})")
        text = form.format(attempt=data.get("attempt"), reason=data.get("reason"))
        if dropped > 0:
            text += f"; the last {dropped} characters of the answer are written anew"
        return [Piece(NOTE, in_a_line(text, 300))]

    def _about(self, kind: str, data: dict[str, Any]) -> str:
        if kind == "session.run.started":
            return f"turn {self._turn} has started, attempt {in_a_line(data.get('attempt'))}"
        if kind == "session.run.suspended":
            return self._waits(str(data.get("awaiting")), data.get("timeoutMs"))
        if kind == "session.stream.ended":
            return f"the stream has ended: {in_a_line(data.get('code'))}"
        if kind == "tool.call":
            return f"→ {in_a_line(data.get('name'), 60)}({_argument(data.get('arguments'))})"
        if kind == "tool.result":
            return f"← {_argument(data.get('result'))}"
        if kind == "tool.call.deferred":
            return f"? {in_a_line(data.get('name'), 60)}({_argument(data.get('arguments'))}): " + self._waits(
                str(data.get("signal")), None
            )
        return in_a_line(f"· {kind} {json.dumps(data, ensure_ascii=False)}", 160)

    def _waits(self, signal: str, timeout_ms: Any) -> str:
        limit = f", for {duration(timeout_ms)} at most" if isinstance(timeout_ms, int | float) else ""
        name = in_a_line(signal)
        return f"waits for the signal {name}{limit}: turnwire signal {self._turn} {name} PAYLOAD"


def _changed(before: str, after: str) -> list[Piece]:
    """Return what to show when a text has become another one."""
    if after.startswith(before):
        return [Piece(TEXT, visible(after[len(before) :]))] if after != before else []
    return [Piece(NOTE, "the answer was changed; it is now:"), Piece(TEXT, visible(after))]


def _argument(value: Any) -> str:
    return in_a_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 160)


def _cursor(text: Any) -> tuple[int, int]:
    """Return the place of an event. One without an id is of a replay, and is never dropped."""
    attempt, dash, seq = str(text or "").partition("-")
    return (int(attempt), int(seq)) if dash else (0, 0)
