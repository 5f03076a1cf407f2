"""The API serves its description, and a page that shows it."""

import re

import pytest

from tests.conformance.conversation import Conversation

METHODS = {"get", "post", "put", "delete", "patch", "head", "options", "trace"}
PATHS = {
    "/v1/sessions/{session}/turns": {"get", "post"},
    "/v1/sessions/{session}/turns/{index}": {"get", "post"},
    "/v1/sessions/{session}/turns/{index}/events": {"get"},
    "/v1/sessions/{session}/events": {"get"},
    "/v1/admin/persist": {"get"},
    "/v1/admin/queue": {"get"},
    "/v1/sessions/{session}/turns/{index}/ledger": {"get"},
    "/v1/sessions/{session}/usage": {"get"},
    "/v1/usage": {"get"},
    "/healthz": {"get"},
    "/readyz": {"get"},
}


@pytest.fixture
def document(http):
    response = http.get("/openapi.json")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].split(";")[0] == "application/json"
    return response.json()


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            yield path, method, item[method], item.get("parameters", [])


def test_the_description_is_openapi_3_1_and_names_every_endpoint(document):
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert document["info"]["title"]
    assert document["info"]["version"]
    for path, methods in PATHS.items():
        assert methods <= set(document["paths"][path]), path


def test_every_operation_is_complete(document):
    ids = []
    for path, method, operation, shared in operations(document):
        where = f"{method} {path}"
        assert operation["responses"], where
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d|[1-5]XX|default", status), where
            assert "$ref" in response or response["description"], where
        ids.append(operation["operationId"])
        parameters = [resolve(document, parameter) for parameter in [*shared, *operation.get("parameters", [])]]
        in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), where
        assert all(parameter.get("required") is True for parameter in parameters if parameter["in"] == "path"), where
        assert len({(parameter["in"], parameter["name"]) for parameter in parameters}) == len(parameters), where
    assert len(set(ids)) == len(ids)


def resolve(document, value):
    while "$ref" in value:
        reference = value["$ref"]
        assert reference.startswith("#/"), reference
        value = document
        for part in reference[2:].split("/"):
            value = value[part.replace("~1", "/").replace("~0", "~")]
    return value


def test_every_reference_leads_somewhere(document):
    for reference in references(document):
        resolve(document, {"$ref": reference})


def test_the_description_knows_what_the_service_answers(chat: Conversation, document):
    described = document["paths"]["/v1/sessions/{session}/turns/{index}"]
    assert {"200", "202", "400", "409", "413", "415", "422"} <= set(described["post"]["responses"])
    assert {"200", "400", "404"} <= set(described["get"]["responses"])
    kinds = resolve(document, described["post"]["responses"]["200"])["content"]
    assert {"application/x-ndjson", "text/event-stream"} <= set(kinds)


def test_every_field_of_a_record_is_described(chat: Conversation, document):
    chat.ask(0, project="p", domain="d", model="m", user="u")
    operation = document["paths"]["/v1/sessions/{session}/turns/{index}"]["get"]
    content = resolve(document, operation["responses"]["200"])["content"]["application/json"]
    schema = resolve(document, content["schema"])
    assert set(chat.record()) <= set(schema["properties"])


def test_the_docs_are_a_page_that_needs_no_other_host(http):
    response = http.get("/docs")
    assert response.status_code == 200
    assert response.headers["content-type"].split(";")[0] == "text/html"
    assert not re.search(r"""(src|href)=["'](https?:)?//""", response.text)
