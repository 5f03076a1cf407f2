"""The spans of an API's requests."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.traces.memory import parent_of, traced
from turnwire.api.app import create_app
from turnwire.api.edge.traced import Traced
from turnwire.shared.settings import Settings

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def kept():
    with traced() as kept:
        yield kept


@pytest.fixture
def ended_in_time(kept):
    """The names of the spans that had ended when a stream sent its first piece."""
    return []


@pytest.fixture
def http(kept, ended_in_time):
    async def answer(request):
        return PlainTextResponse("PLANTED", request.path_params.get("status", 200))

    async def stream(request):
        async def pieces():
            ended_in_time.extend(kept.names)
            yield "PLANTED"

        return StreamingResponse(pieces(), media_type="text/event-stream")

    async def defect(request):
        raise LookupError("PLANTED")

    routes = [
        Route("/v1/users/{user}", answer),
        Route("/v1/status/{status:int}", answer),
        Route("/v1/stream", stream),
        Route("/v1/defect", defect),
        Route("/healthz", answer),
    ]
    app = Traced(Starlette(routes=routes), kept.tracer, trusts_clients=True)
    return TestClient(app, raise_server_exceptions=False, headers={"traceparent": CLIENT})


def test_a_span_has_the_route_and_neither_the_query_nor_the_user(http, kept):
    http.get("/v1/users/PLANTED?access_token=PLANTED")
    span = kept.one("GET /v1/users/{user}")
    assert f"{parent_of(span):016x}" == "b7ad6b7169203331"
    attributes = kept.attributes("GET /v1/users/{user}")
    assert (attributes["url.path"], attributes["http.response.status_code"]) == ("/v1/users/{user}", 200)
    assert "PLANTED" not in span.to_json()


@pytest.mark.parametrize(("status", "error"), [(404, None), (503, "503")])
def test_only_the_server_s_own_errors_fail_a_span(http, kept, status, error):
    http.get(f"/v1/status/{status}")
    attributes = kept.attributes("GET /v1/status/{status:int}")
    assert (attributes["http.response.status_code"], attributes.get("error.type")) == (status, error)
    assert attributes["url.path"] == f"/v1/status/{status}"


def test_the_span_of_a_stream_ends_when_the_stream_begins(http, kept, ended_in_time):
    assert http.get("/v1/stream").text == "PLANTED"
    assert ended_in_time == ["GET /v1/stream"] == kept.names


def test_a_defect_fails_the_span(http, kept):
    assert http.get("/v1/defect").status_code == 500
    assert kept.attributes("GET /v1/defect")["error.type"] in {"500", "LookupError"}


def test_an_unknown_path_and_method_make_no_new_names(http, kept):
    http.request("PLANTED", "/v1/PLANTED/x")
    assert kept.names == ["_OTHER"]


@pytest.mark.parametrize(("setting", "trusted"), [("parent", True), ("link", False)])
def test_a_setting_says_whether_clients_are_trusted(kept, setting, trusted):
    first = create_app(Settings(client_traces=setting)).user_middleware[0]
    assert first.kwargs["trusts_clients"] is trusted


def test_probes_have_no_span(http, kept):
    http.get("/healthz")
    assert kept.names == []
