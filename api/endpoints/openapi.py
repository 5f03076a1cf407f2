"""The description of the API, OpenAPI 3.1, made once from the structs that the handlers themselves use."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import msgspec

from turnwire import __version__
from turnwire.api.edge.accept import JSON
from turnwire.api.edge.body import TurnBody
from turnwire.api.edge.problems import STATUS, Problem
from turnwire.api.endpoints.cancel import CancelBody
from turnwire.api.endpoints.pending import PendingList
from turnwire.api.endpoints.records import MAX_PAGE_TURNS, PAGE_TURNS, TurnList
from turnwire.api.endpoints.signals import SignalBody, StoredSignal
from turnwire.api.following.encode import NDJSON, SSE
from turnwire.shared import errors
from turnwire.shared.ledger import LedgerRows, UsageSums
from turnwire.shared.model import TurnRecord

_SCHEMA: Final = "#/components/schemas/{name}"
_SESSION = "/v1/sessions/{session}/turns"
_TURN = f"{_SESSION}/{{index}}"

_NDJSON_EXAMPLE = (
    '{"id":"1-0","type":"session.run.started",'
    '"data":{"sessionId":"demo","tenantId":"default","turnIndex":0,"attempt":1}}\n'
    '{"id":"1-1","type":"message.part.updated","data":{"part":{"type":"text"},"delta":"Hello"}}\n'
)
_SSE_EXAMPLE = (
    "retry: 1000\n\nid: 1-1\nevent: message.part.updated\n"
    'data: {"type":"message.part.updated","data":{"part":{"type":"text"},"delta":"Hello"}}\n\n'
)


@cache
def document() -> bytes:
    """The description as JSON."""
    _, schemas = msgspec.json.schema_components(
        [
            TurnBody,
            CancelBody,
            SignalBody,
            StoredSignal,
            TurnRecord,
            TurnList,
            PendingList,
            LedgerRows,
            UsageSums,
            Problem,
        ],
        ref_template=_SCHEMA,
    )
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Turnwire",
                "version": __version__,
                "description": "Durable chat turns: a turn survives its worker, the API and its client's connection.",
            },
            "paths": _paths(),
            "components": {"schemas": schemas, "parameters": _PARAMETERS, "responses": _problems()},
        }
    )


def _paths() -> dict[str, Any]:
    submit = [200, 202, 400, 404, 405, 406, 409, 413, 415, 422, 429, 503]
    return {
        "/v1/sessions/{session}": {
            "delete": _operation("eraseSession", "Erase all of a session", ["session"], [204, 400, 404, 405, 503]),
        },
        _SESSION: {
            "post": _operation(
                "askNextTurn",
                "Ask a turn at the session's next index",
                ["session", "keepalive", "idempotencyKey", "prefer", "traceparent"],
                submit,
                body="TurnBody",
            ),
            "get": _operation(
                "listTurns", "The turns of a session, ascending", ["session", "afterIndex", "limit"],
                [200, 400, 404, 405, 406, 503], schema="TurnList",
            ),
        },
        _TURN: {
            "post": _operation(
                "askTurn",
                "Ask a turn, attach to it while it runs, or get its answer again",
                ["session", "index", "keepalive", "prefer", "traceparent"],
                submit,
                body="TurnBody",
            ),
            "get": _operation(
                "getTurn", "A turn's record, now or when it has ended", ["session", "index", "wait"],
                [200, 400, 404, 405, 406, 503], schema="TurnRecord",
            ),
        },
        f"{_TURN}/events": {
            "get": _operation(
                "followTurn", "A turn's events after a cursor, until its terminal event",
                ["session", "index", "after", "lastEventId", "keepalive"],
                [200, 204, 400, 404, 405, 406, 410, 503],
            ),
        },
        f"{_TURN}/ledger": {
            "get": _operation(
                "getLedger", "What each ended attempt of a turn used and cost, oldest first", ["session", "index"],
                [200, 400, 404, 405, 406, 503], schema="LedgerRows",
            ),
        },
        "/v1/sessions/{session}/usage": {
            "get": _operation(
                "getSessionUsage", "The sums of a session's ledger", ["session"], [200, 400, 404, 405, 406, 503],
                schema="UsageSums",
            ),
        },
        "/v1/usage": {
            "get": _operation(
                "getUsage", "The sums of your whole ledger", [], [200, 405, 406, 503], schema="UsageSums"
            ),
        },
        f"{_TURN}/cancel": {
            "post": _operation(
                "cancelTurn", "Cancel a turn, whether it waits, runs or has lost its worker", ["session", "index"],
                [200, 202, 400, 404, 405, 413, 415, 422, 503], schema="TurnRecord", body="CancelBody",
            ),
        },
        f"{_TURN}/signals/{{key}}": {
            "post": _operation(
                "signalTurn", "Tell a turn what it waits for, or will wait for; the first signal of a key wins",
                ["session", "index", "key"], [200, 202, 400, 404, 405, 409, 413, 415, 422, 503], schema="StoredSignal",
                body="SignalBody",
            ),
        },
        "/v1/admin/persist": {
            "get": _operation(
                "listPending", "For operators: turns whose answer the product has not stored yet, oldest first",
                ["afterPage", "limit"], [200, 400, 405, 406, 503], schema="PendingList",
            ),
        },
        "/healthz": {"get": _operation("isAlive", "The process answers", [], [200], schema="")},
        "/readyz": {"get": _operation("isReady", "Turns can be taken", [], [200, 503], schema="")},
    }  # fmt: skip


def _operation(
    name: str, summary: str, parameters: Sequence[str], statuses: Sequence[int], *, body: str = "",
    schema: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """`schema` names the answer's document; "" is any, and None is a stream."""
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "parameters": [{"$ref": f"#/components/parameters/{parameter}"} for parameter in parameters],
        "responses": {str(status): _answer(status, schema, body=bool(body)) for status in statuses},
    }
    if body:
        operation["requestBody"] = {
            "required": body == "TurnBody",
            "content": {JSON: {"schema": _reference(body)}},
        }
    return operation


def _answer(status: int, schema: str | None, *, body: bool) -> dict[str, Any]:
    if status >= 400:
        return {"$ref": f"#/components/responses/{status}"}
    if status == 204:
        return {"description": "Nothing (left): erased, or an EventSource that has the terminal event"}
    if status == 202:
        headers = {"Location": {"description": "the record", "schema": {"type": "string"}}}
        record = {JSON: {"schema": _reference("TurnRecord")}}
        return {"description": "Accepted; the record as it is", "headers": headers, "content": record}
    if schema is not None:
        return {"description": "OK", "content": {JSON: {"schema": _reference(schema) if schema else {}}}}
    content: dict[str, Any] = {
        NDJSON.media_type: {"schema": {"type": "string"}, "example": _NDJSON_EXAMPLE},
        SSE.media_type: {"schema": {"type": "string"}, "example": _SSE_EXAMPLE},
    }
    if body:
        content[JSON] = {"schema": _reference("TurnRecord")}
    return {"description": "The events, live, one line or block each", "content": content}


def _problems() -> dict[str, Any]:
    kinds: dict[int, list[type[errors.TurnwireError]]] = {}
    for kind, (status, _) in STATUS.items():
        kinds.setdefault(status, []).append(kind)
    content = {"application/problem+json": {"schema": _reference("Problem")}}
    return {
        str(status): {"description": ", ".join(f"`{kind.code}`" for kind in group), "content": content}
        for status, group in kinds.items()
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _SCHEMA.format(name=name)}


def _parameter(name: str, place: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": description}


_CURSOR: Final = {"type": "string", "pattern": "^[0-9]+-[0-9]+$"}
_INDEX: Final = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_PARAMETERS: Final = {
    "session": _parameter("session", "path", {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}, "your id"),
    "index": _parameter("index", "path", _INDEX, "0 for the first turn of the session"),
    "key": _parameter("key", "path", {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}, "the signal's name"),
    "after": _parameter("after", "query", _CURSOR, "the cursor of the last event you have"),
    "lastEventId": _parameter("Last-Event-ID", "header", _CURSOR, "as `after`, which wins"),
    "keepalive": _parameter(
        "keepalive", "query", {"type": "number", "minimum": 1, "maximum": 60}, "an empty line after so many silent s"
    ),
    "wait": _parameter("wait", "query", {"type": "number", "minimum": 0, "maximum": 60}, "s to wait for its end"),
    "afterIndex": _parameter("after", "query", _INDEX, "the index of the last turn you have"),
    "afterPage": _parameter("after", "query", {"type": "string", "pattern": "^[0-9]{1,16}$"}, "`next` of a page"),
    "limit": _parameter(
        "limit", "query", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_TURNS, "default": PAGE_TURNS}, "at most"
    ),
    "idempotencyKey": _parameter(
        "Idempotency-Key", "header", {"type": "string", "pattern": "^[!-~]{1,255}$"}, "the same key is the same turn"
    ),
    "prefer": _parameter("Prefer", "header", {"type": "string"}, "`respond-async`: answer 202 with the record"),
    "traceparent": _parameter("traceparent", "header", {"type": "string"}, "W3C trace context, passed on"),
}
