"""Makes the OpenAPI 3.1 description of the API from the table that the router uses and from the handlers' structs."""

from collections.abc import Sequence
from typing import Any, Final, get_args

import msgspec

from turnwire import __version__
from turnwire.api.access.identity import Scope
from turnwire.api.edge.accept import JSON
from turnwire.api.edge.problems import INTERNAL, STATUS, Problem
from turnwire.api.endpoints.operation import Answer, Operation
from turnwire.api.endpoints.records import MAX_PAGE_TURNS, PAGE_TURNS
from turnwire.api.following.encode import NDJSON, SSE
from turnwire.shared.store.turn_list import State

EVERYWHERE: Final = (405, 408, 421, 431, 500)  # every operation may answer with these problems
GUARDED: Final = (401, 429)  # so may every operation that needs credentials, and with 403 if it needs a scope
SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key, or a token"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "an API key, or a token"},
}

_SCHEMA: Final = "#/components/schemas/{name}"
_NDJSON_EXAMPLE = (
    '{"id":"1-0","type":"session.run.started",'
    '"data":{"sessionId":"demo","tenantId":"default","turnIndex":0,"attempt":1}}\n'
    '{"id":"1-1","type":"message.part.updated","data":{"part":{"type":"text"},"delta":"Hello"}}\n'
)
_SSE_EXAMPLE = (
    "retry: 1000\n\nid: 1-1\nevent: message.part.updated\n"
    'data: {"type":"message.part.updated","data":{"part":{"type":"text"},"delta":"Hello"}}\n\n'
)


def document(operations: Sequence[Operation], root_path: str | None = None) -> bytes:
    """Return the description as JSON. `root_path`: below which path a proxy shows the API."""
    structs = [Problem, *(operation.body for operation in operations if operation.body)]
    structs += [answer.body for operation in operations for answer in operation.answers if answer.body]
    _, schemas = msgspec.json.schema_components(structs, ref_template=_SCHEMA)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Turnwire",
                "version": __version__,
                "description": "Durable chat turns: a turn survives its worker, the API and its client's connection.",
            },
            **({"servers": [{"url": root_path}]} if root_path else {}),
            "paths": paths,
            "components": {
                "schemas": schemas,
                "parameters": PARAMETERS,
                "headers": HEADERS,
                "responses": _problems(),
                "securitySchemes": SECURITY,
            },
        }
    )


def _described(operation: Operation) -> dict[str, Any]:
    guarded = operation.scope is not Scope.PUBLIC
    scoped = (403,) if guarded and operation.scope is not Scope.ANY else ()
    problems = sorted({*operation.problems, *EVERYWHERE, *(GUARDED if guarded else ()), *scoped})
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "security": [{scheme: [operation.scope]} for scheme in SECURITY] if guarded else [],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in operation.parameters],
        "responses": {
            **{str(answer.status): _answer(answer) for answer in operation.answers},
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in problems},
        },
    }
    if operation.body:
        content = {JSON: {"schema": _reference(operation.body)}}
        described["requestBody"] = {"required": operation.body_required, "content": content}
    return described


def _answer(answer: Answer) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if answer.stream:
        content[NDJSON.media_type] = {"schema": {"type": "string"}, "example": _NDJSON_EXAMPLE}
        content[SSE.media_type] = {"schema": {"type": "string"}, "example": _SSE_EXAMPLE}
    if answer.body:
        content[JSON] = {"schema": _reference(answer.body)}
    if answer.media_type:
        content[answer.media_type] = {"schema": {"type": "string"}}
    described: dict[str, Any] = {"description": answer.description}
    if content:
        described["content"] = content
    if answer.headers:
        described["headers"] = _header_references(*answer.headers)
    return described


def _problems() -> dict[str, Any]:
    codes: dict[int, list[str]] = {INTERNAL.status: [INTERNAL.code]}
    retried: set[int] = set()
    for kind, (status, _) in STATUS.items():
        codes.setdefault(status, []).append(kind.code)
        if kind.retryable:
            retried.add(status)
    content = {"application/problem+json": {"schema": _reference(Problem)}}
    responses: dict[str, Any] = {}
    for status in sorted(codes):
        description = ", ".join(f"`{code}`" for code in codes[status])
        responses[str(status)] = {"description": description, "content": content}
        names = [name for at, name in _PROBLEM_HEADERS if status == at]
        names += ["Retry-After"] * (status in retried)
        if names:
            responses[str(status)]["headers"] = _header_references(*names)
    return responses


def _reference(struct: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _SCHEMA.format(name=struct.__name__)}


def _header_references(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _parameter(name: str, place: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": description}


def _header(schema: dict[str, Any], description: str, *, required: bool = True) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": schema}


_CURSOR: Final = {"type": "string", "pattern": "^[0-9]+-[0-9]+$"}
_CHANGE: Final = {"type": "string", "pattern": "^[0-9]{1,16}-[0-9]{1,10}-[0-9]{1,16}-[a-z]+$"}
_INDEX: Final = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_NAME: Final = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}
_TEXT: Final = {"type": "string", "maxLength": 256}
_SECONDS: Final = {"type": "number", "minimum": 0, "maximum": 60}
_LIMIT: Final = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_TURNS, "default": PAGE_TURNS}
_TURN_PATH: Final = {"type": "string", "pattern": "/v1/sessions/[^/]+/turns/[0-9]+$"}

PARAMETERS: Final = {
    "session": _parameter("session", "path", _NAME, "the session's id, chosen by you"),
    "user": _parameter("user", "path", {"type": "string", "minLength": 1, "maxLength": 256}, "as in `user` of turns"),
    "index": _parameter("index", "path", _INDEX, "0 for the first turn of the session"),
    "key": _parameter("key", "path", _NAME, "the signal's name"),
    "after": _parameter("after", "query", _CURSOR, "the cursor of the last event that you have"),
    "lastEventId": _parameter("Last-Event-ID", "header", _CURSOR, "the same as `after`, which takes precedence"),
    "afterChange": _parameter("after", "query", _CHANGE, "the id of the last event that you have"),
    "lastChangeId": _parameter("Last-Event-ID", "header", _CHANGE, "the same as `after`, which takes precedence"),
    "keepalive": _parameter(
        "keepalive", "query", {**_SECONDS, "minimum": 1}, "the seconds of silence after which an empty line is sent"
    ),
    "sse": _parameter(
        "sse",
        "query",
        {"type": "string", "enum": ["event", "data"], "default": "event"},
        "`data`: server-sent events without `event:`, all of which an EventSource passes to `onmessage`",
    ),
    "token": _parameter("token", "query", {"type": "string"}, "a session token, from a client that sends no headers"),
    "wait": _parameter("wait", "query", _SECONDS, "the seconds to wait for the end of the turn, at most 45"),
    "afterIndex": _parameter("after", "query", _INDEX, "the index of the last turn that you have"),
    "afterPage": _parameter("after", "query", {"type": "string", "pattern": "^[0-9]{1,16}$"}, "`next` of a page"),
    "afterEntry": _parameter("after", "query", {"type": "string", "pattern": "^[0-9]{1,16}-[0-9]{1,16}$"}, "`next`"),
    "afterPlace": _parameter("after", "query", {"type": "string", "maxLength": 300}, "`next` of a page"),
    "afterName": _parameter("after", "query", _TEXT, "`next` of a page"),
    "limitOfMany": _parameter("limit", "query", {**_LIMIT, "maximum": 1000, "default": 100}, "the most to list"),
    "limitOfTurns": _parameter("limit", "query", {**_LIMIT, "maximum": 500, "default": 100}, "the most turns to list"),
    "runId": _parameter("run_id", "path", {"type": "string", "pattern": "^chat:"}, "the turn's run id"),
    "namedTenant": _parameter("tenant", "path", _NAME, "the tenant"),
    "namedProject": _parameter("project", "path", _TEXT, "the project; each `/` of it is sent as `%2F`"),
    "worker": _parameter("worker", "path", _TEXT, "the worker's id; each `/` of it is sent as `%2F`"),
    "state": _parameter("state", "query", {"type": "string", "enum": [*get_args(State)]}, "only turns of this state"),
    "ofTenant": _parameter("tenant", "query", _NAME, "only turns of this tenant"),
    "ofSession": _parameter("session", "query", _NAME, "only turns of this session of `tenant`, or of the default one"),
    "ofProject": _parameter("project", "query", _TEXT, "only turns of this project"),
    "ofWorker": _parameter("worker", "query", _TEXT, "only turns whose last attempt this worker runs or ran"),
    "search": _parameter("q", "query", _TEXT, "only turns whose run id, project, model or code contains this text"),
    "olderThan": _parameter("older_than_s", "query", {"type": "number", "minimum": 0}, "only turns of this age, in s"),
    "limit": _parameter("limit", "query", _LIMIT, "the most turns to list"),
    "idempotencyKey": _parameter(
        "Idempotency-Key", "header", {"type": "string", "pattern": "^[!-~]{1,255}$"}, "the same key is the same turn"
    ),
    "prefer": _parameter("Prefer", "header", {"type": "string"}, "`respond-async`: answer 202 with the record"),
    "traceparent": _parameter("traceparent", "header", {"type": "string"}, "W3C trace context, passed on"),
    "tracestate": _parameter("tracestate", "header", {"type": "string"}, "what tracing systems add to `traceparent`"),
}
_PROBLEM_HEADERS: Final = ((401, "WWW-Authenticate"), (405, "Allow"), (429, "RateLimit"), (429, "RateLimit-Policy"))
HEADERS: Final = {
    "Location": _header(_TURN_PATH, "the path of the turn's record"),
    "Content-Location": _header(_TURN_PATH, "the path of the turn's record"),
    "Idempotent-Replayed": _header(
        {"type": "string", "enum": ["true"]}, "present if the turn was completed before this request", required=False
    ),
    "Allow": _header({"type": "string"}, "the methods that this path has"),
    "WWW-Authenticate": _header({"type": "string"}, "the form in which credentials are expected"),
    "RateLimit": _header(
        {"type": "string"}, "the requests that are left, and in how many seconds all are back", required=False
    ),
    "RateLimit-Policy": _header(
        {"type": "string"}, "the requests that a tenant with a limit may send in so many seconds", required=False
    ),
    "Retry-After": _header(
        {"type": "string", "pattern": "^[0-9]+$"},
        "seconds; present if it makes sense to retry",
        required=False,
    ),
}
