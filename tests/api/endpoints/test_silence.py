"""After how many seconds of silence a client gets a sign of life."""

import pytest
from starlette.types import Receive, Send

from turnwire.api.edge.exchange import Exchange
from turnwire.api.endpoints.stream import silence_s
from turnwire.api.following.encode import NDJSON, SSE, SSE_DATA, Framing


async def unused(*_: object) -> None:
    raise AssertionError


def exchange(query: str = "", **headers: str) -> Exchange:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    receive: Receive = unused  # type: ignore[assignment]
    send: Send = unused
    return Exchange({"type": "http", "headers": raw, "query_string": query.encode()}, receive, send)


@pytest.mark.parametrize("framing", [SSE, SSE_DATA])
def test_server_sent_events_have_comments(framing: Framing):
    assert silence_s(exchange(), framing) == 15


def test_ndjson_has_empty_lines_only_behind_a_proxy():
    assert silence_s(exchange(host="a", user_agent="b"), NDJSON) is None
    for name in ("x_forwarded_for", "forwarded", "via"):
        wanted = silence_s(exchange(**{name: "x"}), NDJSON)
        assert wanted is not None
        assert wanted < 50


@pytest.mark.parametrize("framing", [NDJSON, SSE])
def test_the_client_has_the_last_word(framing: Framing):
    assert silence_s(exchange("keepalive=3", via="1.1 proxy"), framing) == 3
