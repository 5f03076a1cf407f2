"""Checks answers against /openapi.json: status, media type, headers and body must be as described."""

import re
from typing import Any

import httpx

Schema = dict[str, Any]
KINDS: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
    "null": type(None),
}  # fmt: skip
DOCUMENTS = {"application/json", "application/problem+json"}
KNOWN = {
    "$ref", "additionalProperties", "anyOf", "default", "description", "enum", "items", "maximum", "maxLength",
    "minimum", "minLength", "pattern", "properties", "required", "title", "type",
}  # fmt: skip


class Description:
    """The document, and which of its answers have been seen so far."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.seen: set[tuple[str, int]] = set()  # pairs of operation id and status

    @property
    def answers(self) -> set[tuple[str, int]]:
        """Return every answer that the document describes."""
        return {
            (operation["operationId"], int(status))
            for item in self._document["paths"].values()
            for operation in item.values()
            for status in operation["responses"]
        }

    def resolve(self, value: Any) -> Any:
        while "$ref" in value:
            found = self._document
            for part in value["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            value = found
        return value

    def check(self, response: httpx.Response) -> None:
        """Check an answer against the description. Answers of paths that are not described are not checked."""
        request = response.request
        item = self._item(request.url.raw_path.decode().partition("?")[0])
        if item is None:
            return
        method = "get" if request.method == "HEAD" else request.method.lower()
        refused = {"operationId": "", "responses": next(iter(item.values()))["responses"]}
        operation = item.get(method, refused)  # 405 is the same for all methods that a path does not have
        where = f"{request.method} {request.url} -> {response.status_code}"
        described = operation["responses"].get(str(response.status_code))
        assert described is not None, where
        names = [operation] if operation is not refused else item.values()
        self.seen |= {(known["operationId"], response.status_code) for known in names}
        self._check_answer(where, self.resolve(described), response)

    def _item(self, path: str) -> dict[str, Any] | None:
        for template, item in self._document["paths"].items():
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
                found: dict[str, Any] = item
                return found
        return None

    def _check_answer(self, where: str, described: dict[str, Any], response: httpx.Response) -> None:
        for name, reference in described.get("headers", {}).items():
            header = self.resolve(reference)
            if header["required"] or name in response.headers:
                assert name in response.headers, (where, name)
                self.validate(response.headers[name], header["schema"], f"{where} {name}")
        for name in ("location", "content-location", "allow", "retry-after", "idempotent-replayed"):
            if name in response.headers:
                assert name in {known.lower() for known in described.get("headers", {})}, (where, name)
        content = described.get("content", {})
        kind = response.headers.get("content-type", "").split(";")[0]
        assert kind in content or (response.status_code == 204), (where, kind)
        if kind in DOCUMENTS and response.request.method != "HEAD":
            response.read()
            self.validate(response.json(), content[kind]["schema"], where)

    def validate(self, value: Any, schema: Schema, where: str) -> None:
        """Assert that a value fits a schema, and has no property that the schema does not name."""
        schema = self.resolve(schema)
        assert set(schema) <= KNOWN, (where, set(schema) - KNOWN)
        if "anyOf" in schema:
            fitting = [choice for choice in schema["anyOf"] if self._fits(value, choice, where)]
            assert fitting, (where, value, schema)
        if "enum" in schema:
            assert value in schema["enum"], (where, value)
        if "type" in schema:
            kind = KINDS[schema["type"]]
            assert isinstance(value, kind), (where, value, schema)
            assert not isinstance(value, bool) or schema["type"] == "boolean", (where, value)
        self._validate_size(value, schema, where)
        if isinstance(value, list):
            for child in value:
                self.validate(child, schema.get("items", {}), where)
        if isinstance(value, dict) and "properties" in schema:
            assert set(schema.get("required", ())) <= set(value) <= set(schema["properties"]), (where, value)
            for name, child in value.items():
                self.validate(child, schema["properties"][name], f"{where} .{name}")

    def _fits(self, value: Any, schema: Schema, where: str) -> bool:
        try:
            self.validate(value, schema, where)
        except AssertionError:
            return False
        return True

    def _validate_size(self, value: Any, schema: Schema, where: str) -> None:
        if isinstance(value, str):
            assert re.search(schema.get("pattern", ""), value), (where, value)
            assert schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)), (where, value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert schema.get("minimum", value) <= value <= schema.get("maximum", value), (where, value)
