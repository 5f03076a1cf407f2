"""Makes requests from /openapi.json: those that fit it, and those that break it in one place or in many."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

NASTY: Final[Sequence[Any]] = (
    None, True, False, 0, -1, 0.5, 1e308, 2**31, 2**63, 10**40, "", " ", "\0", "\n", "..", "a/b", "%00",
    "é\u2028\U0001f600", "\u202e",
    "x" * 3000, "'", '"', "{{", "$(id)", "-", "+1", "1e3", "0x10", "null", [], {}, [[[[]]]], [None], {"": {}},
    {"payload": {"type": "x"}}, "chat:a:0", "1-0", "99999999999999999999-1", "*", "a~b", "{a}",
)  # fmt: skip
RAW_TEXTS: Final = ("%", "%zz", "%ff", "%2e%2e", "a%2Fb", "?", "#", "%C0%80", "\xff", "+", "%0d%0aX:1")
RAW_BODIES: Final = (
    b"",
    b"{",
    b"nul",
    b"\xff\xfe",
    b"[" * 200,
    b'{"a":1}{"b":2}',
    b'{"message":"\\ud800"}',
    b"1" * 400,
)
DEPTH: Final = 4


class Described(NamedTuple):
    """One operation of the description."""

    id: str
    method: str
    path: str
    parameters: Sequence[Mapping[str, Any]]
    body: Mapping[str, Any] | None


class Asked(NamedTuple):
    """One request, without its credentials."""

    operation: Described
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes | None


class Maker:
    """Makes requests at random; the same seed makes the same ones."""

    def __init__(self, document: Mapping[str, Any], seed: int) -> None:
        self._document = document
        self._dice = random.Random(seed)
        self.operations = list(self._described())

    def _described(self) -> Iterator[Described]:
        for path, item in self._document["paths"].items():
            for method, operation in item.items():
                if method not in {"get", "post", "delete", "put", "patch"}:
                    continue
                content = operation.get("requestBody", {}).get("content", {})
                schema = next((one["schema"] for one in content.values()), None)
                parameters = [self._resolved(one) for one in operation.get("parameters", [])]
                yield Described(operation["operationId"], method.upper(), path, parameters, schema)

    def request(self, read: Mapping[str, Sequence[str]], changed: Mapping[str, Sequence[str]]) -> Asked:
        """Return the next request. `read`, `changed`: texts for the path parameters of a GET, and of another method."""
        operation = self._dice.choice(self.operations)
        given = read if operation.method == "GET" else changed
        nasty = self._dice.choice((0.0, 0.0, 0.1, 0.4))  # how likely each value is a wrong one
        path, query, headers = operation.path, [], []
        for parameter in operation.parameters:
            name, place = parameter["name"], parameter["in"]
            if place == "path":
                path = path.replace(f"{{{name}}}", self._in_path(given[name], nasty))
            elif self._dice.random() < 0.4:
                text = self._text(parameter["schema"], nasty)
                if place == "query":
                    query.append(f"{quote(name)}={self._quoted(text, nasty)}")
                else:
                    headers.append((name, text.encode("latin-1", "replace").decode("latin-1")))
        target = path + ("?" + "&".join(query) if query else "")
        return Asked(operation, target, headers, self._body(operation, nasty))

    def _body(self, operation: Described, nasty: float) -> bytes | None:
        if operation.body is None or self._dice.random() < nasty / 4:
            return None
        if self._dice.random() < nasty / 2:
            return self._dice.choice(RAW_BODIES)
        return json.dumps(self.value(operation.body, nasty)).encode()

    def _in_path(self, known: Sequence[str], nasty: float) -> str:
        if self._dice.random() >= nasty:
            return self._dice.choice(known)
        if self._dice.random() < 0.5:
            return "q" + self._dice.choice(RAW_TEXTS[:5])
        return "q" + quote(str(self._dice.choice(NASTY)), safe="")

    def _quoted(self, text: str, nasty: float) -> str:
        if self._dice.random() < nasty / 3:
            return self._dice.choice(RAW_TEXTS[:5])
        return quote(text, safe="")

    def _text(self, schema: Mapping[str, Any], nasty: float) -> str:
        value = self.value(schema, nasty)
        return value if isinstance(value, str) else json.dumps(value)

    def value(self, schema: Mapping[str, Any], nasty: float, depth: int = 0) -> Any:
        """Return a value that fits the schema, or at places one that does not."""
        schema, dice = self._resolved(schema), self._dice
        if dice.random() < nasty / 2:
            return dice.choice(NASTY)
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return self.value(dice.choice(choices), nasty, depth)
        if "const" in schema or "enum" in schema:
            return dice.choice(schema.get("enum") or [schema["const"]])
        kind = schema.get("type")
        kind = dice.choice(kind) if isinstance(kind, list) else kind
        if kind == "object" or "properties" in schema:
            return self._object(schema, nasty, depth)
        if kind == "array":
            items = schema.get("items", {})
            count = dice.randint(schema.get("minItems", 0), min(schema.get("maxItems", 3), 3))
            return [] if depth > DEPTH else [self.value(items, nasty, depth + 1) for _ in range(count)]
        return self._plain(schema, kind)

    def _plain(self, schema: Mapping[str, Any], kind: str | None) -> Any:
        dice = self._dice
        if kind in {"integer", "number"}:
            least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
            most = schema.get("maximum", schema.get("exclusiveMaximum", least + 5))
            return dice.choice((least, most, dice.randint(int(least), int(most))))
        if kind == "string":
            least, most = schema.get("minLength", 1), min(schema.get("maxLength", 8), 8)
            return "a" * dice.randint(least, max(least, most))
        return {"boolean": dice.random() < 0.5, "null": None}.get(kind or "", dice.choice(NASTY))

    def _object(self, schema: Mapping[str, Any], nasty: float, depth: int) -> dict[str, Any]:
        made = {}
        for name, inner in schema.get("properties", {}).items():
            if name in schema.get("required", ()) or (depth < DEPTH and self._dice.random() < 0.25):
                made[name] = self.value(inner, nasty, depth + 1)
        if self._dice.random() < nasty / 3:
            made["unknown"] = self._dice.choice(NASTY)
        return made

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in schema:
            found: Any = self._document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        return schema
