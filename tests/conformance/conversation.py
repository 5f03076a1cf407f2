"""Speaks to the service as a client does, by HTTP only."""

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.conformance.recorder import Recorder

Line = dict[str, Any]
DELTA = "message.part.updated"


def say(text: str, part: str | None = None) -> dict[str, Any]:
    """Return the action of the product that yields one text delta."""
    return {"say": text} if part is None else {"say": text, "id": part}


def delta(text: str) -> Line:
    """Return the event that the product's `say` puts into the stream."""
    return {"type": DELTA, "data": {"part": {"type": "text"}, "delta": text}}


def parse(body: bytes) -> list[Line]:
    """Return the lines of a finished NDJSON body, which must be complete JSON objects in UTF-8 without blank lines."""
    assert body.endswith(b"\n") or not body, body[-80:]
    lines = [json.loads(line.decode("utf-8")) for line in body.split(b"\n")[:-1]]
    assert all(type(line) is dict for line in lines), lines
    return lines


def types(lines: Iterable[Line]) -> list[str]:
    return [line["type"] for line in lines]


def text(lines: Iterable[Line]) -> str:
    """Return the text that a reader of the deltas sees."""
    return "".join(line["data"]["delta"] for line in lines if line["type"] == DELTA)


def bare(lines: Iterable[Line]) -> list[Line]:
    """Return the lines without their ids."""
    return [{key: value for key, value in line.items() if key != "id"} for line in lines]


def only(lines: Iterable[Line], event_type: str) -> dict[str, Any]:
    """Return the payload of the one event of this type."""
    found = [line["data"] for line in lines if line["type"] == event_type]
    assert len(found) == 1, (event_type, found)
    return found[0]


class Reading:
    """An open NDJSON stream, read line by line."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._chunks = response.iter_raw()
        self._rest = b""

    def next_raw(self) -> bytes | None:
        """Return the next line without its end; None if the stream has ended. It may end only between two lines."""
        while b"\n" not in self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                assert self._rest == b"", "the stream ended inside a line"
                return None
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def until(self, event_type: str, count: int = 1) -> list[Line]:
        """Return the lines up to the `count`-th next event of this type."""
        lines: list[Line] = []
        while types(lines).count(event_type) < count:
            raw = self.next_raw()
            assert raw is not None, f"the stream ended before {event_type}: {lines}"
            lines.append(json.loads(raw))
        return lines

    def rest(self) -> list[Line]:
        """Return all lines to the end of the stream."""
        lines = []
        while (raw := self.next_raw()) is not None:
            lines.append(json.loads(raw))
        return lines


class Conversation:
    """One session of the service, fresh for each test. `order` tells the product what to do in the turn."""

    def __init__(self, http: httpx.Client, recorder: Recorder, session_id: str | None = None) -> None:
        self.http = http
        self.recorder = recorder
        self.id = session_id or f"c-{uuid.uuid4().hex[:16]}"
        self.turns = f"/v1/sessions/{self.id}/turns"

    def path(self, index: int, rest: str = "") -> str:
        return f"{self.turns}/{index}{rest}"

    def run_id(self, index: int) -> str:
        return f"chat:{self.id}:{index}"

    def hold(self, name: str) -> str:
        """Return a name of a hold that no other test uses."""
        return f"{self.id}-{name}"

    def body(self, order: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        metadata = {"recorder": self.recorder.url, **(order or {})}
        return {"message": "hi", "metadata": metadata, **fields}

    def post(
        self, index: int | None = 0, order: dict[str, Any] | None = None, headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> httpx.Response:  # fmt: skip
        """Ask a turn, or the next one if `index` is None, and read the answer to its end."""
        path = self.turns if index is None else self.path(index)
        return self.http.post(path, json=self.body(order, **fields), headers=headers)

    def ask(self, index: int | None = 0, order: dict[str, Any] | None = None, **fields: Any) -> list[Line]:
        """Ask a turn, which must be accepted. Returns the lines of its stream."""
        response = self.post(index, order, **fields)
        assert response.status_code == 200, response.text
        return parse(response.content)

    def submit(self, index: int | None = 0, order: dict[str, Any] | None = None, **fields: Any) -> httpx.Response:
        """Ask a turn without waiting for it."""
        response = self.post(index, order, {"Prefer": "respond-async"}, **fields)
        assert response.status_code == 202, response.text
        return response

    @contextmanager
    def stream(self, index: int = 0, order: dict[str, Any] | None = None, **fields: Any) -> Iterator[Reading]:
        """Ask a turn and read its stream while it runs."""
        with self.http.stream("POST", self.path(index), json=self.body(order, **fields)) as response:
            assert response.status_code == 200, response.read()
            yield Reading(response)

    @contextmanager
    def follow(self, index: int = 0, **params: Any) -> Iterator[Reading]:
        """Read a turn's events without asking it."""
        with self.http.stream("GET", self.path(index, "/events"), params=params) as response:
            assert response.status_code == 200, response.read()
            yield Reading(response)

    def events(self, index: int = 0, **params: Any) -> list[Line]:
        """Return the turn's events to its end."""
        response = self.http.get(self.path(index, "/events"), params=params)
        assert response.status_code == 200, response.text
        return parse(response.content)

    def get(self, index: int = 0, **params: Any) -> httpx.Response:
        return self.http.get(self.path(index), params=params)

    def record(self, index: int = 0) -> dict[str, Any]:
        """Return the record of the turn as it is now."""
        response = self.get(index)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def finished(self, index: int = 0) -> dict[str, Any]:
        """Wait until the turn is terminal. Returns its record."""
        response = self.get(index, wait=20)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        assert found["status"] in {"completed", "failed", "cancelled"}, found
        return found
