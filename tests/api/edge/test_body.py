"""Bodies: what is taken, and that everything else is a typed refusal before anything is written."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from turnwire.api.edge.body import ClientGone, TurnBody, parse, read_turn
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.problems import UnsupportedMediaType
from turnwire.shared.errors import BadRequest, InvalidInput, TooLarge, TurnwireError
from turnwire.shared.request import TurnRequest

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


JSON = "application/json"
FIELDS = ["message", "user", "metadata", "type", "text", "options"]


async def read(
    *chunks: bytes, gone: bool = False, limit: int = 100_000, content_type: str = JSON, **headers: str
) -> TurnRequest:
    headers["content_type"] = content_type
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.disconnect"} if gone else {"type": "http.request"})
    arriving = iter(messages)

    async def receive() -> Message:
        return next(arriving)

    async def unused(_: Message) -> None:
        raise AssertionError("nothing is answered here")

    return (await read_turn(Exchange({"type": "http", "headers": raw}, receive, unused), limit)).request


async def test_a_body_may_come_in_pieces():
    assert await read(b'{"mess', b'age":"hi","user":null}') == TurnRequest(message="hi")


async def test_a_valid_trace_parent_goes_along_and_a_broken_one_does_not():
    assert (await read(b'{"message":"hi"}', traceparent=TRACE)).traceparent == TRACE
    for broken in (TRACE.upper(), TRACE[:-1], TRACE.replace("b7ad6b7169203331", "0" * 16), "ff" + TRACE[2:]):
        assert (await read(b'{"message":"hi"}', traceparent=broken)).traceparent is None


@pytest.mark.parametrize(
    ("state", "kept"), [("vendor=abc, other=1", "vendor=abc, other=1"), ("é=1", None), ("a" * 513, None)]
)
async def test_a_trace_state_goes_along_with_a_trace_parent(state, kept):
    assert (await read(b'{"message":"hi"}', traceparent=TRACE, tracestate=state)).tracestate == kept
    assert (await read(b'{"message":"hi"}', tracestate=state)).tracestate is None


async def test_a_client_that_goes_while_sending_asked_nothing():
    with pytest.raises(ClientGone):
        await read(b'{"message":"hi"}', gone=True)


async def test_a_declared_length_is_refused_without_reading():
    with pytest.raises(TooLarge):
        await read(gone=True, content_length="100001")


async def test_a_body_without_length_is_read_up_to_the_limit_only():
    with pytest.raises(TooLarge):
        await read(*[b" " * 60] * 2, gone=True, limit=100)


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain"},
        {"content_type": "application/json; charset=latin-1"},
        {"content_encoding": "gzip"},
    ],
)
async def test_other_kinds_of_bodies_are_refused(headers: dict[str, Any]):
    with pytest.raises(UnsupportedMediaType):
        await read(b'{"message":"hi"}', **headers)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", BadRequest),
        (b"{", BadRequest),
        (b'{"message":"\xff"}', BadRequest),
        (b'{"message":"\\ud800"}', BadRequest),
        (b'{"message":"a","metadata":{"x":NaN}}', BadRequest),
        (b"\xef\xbb\xbf{}", BadRequest),
        (b"[]", InvalidInput),
        (b"{}", InvalidInput),
        (b'{"message":""}', InvalidInput),
        (b'{"message":1}', InvalidInput),
        (b'{"message":"a","extra":1}', InvalidInput),
        (b'{"message":"a","user":""}', InvalidInput),
        (b'{"message":"a","on_busy":"explode"}', InvalidInput),
        (b'{"message":"a","metadata":[]}', InvalidInput),
        (b'{"message":"a","metadata":{"x":1e999}}', InvalidInput),
        (b'{"message":"a","metadata":{"x":' + b"[" * 40 + b"]" * 40 + b"}}", InvalidInput),
        (b'{"message":"a","metadata":{"x":' + b"[" * 40_000 + b"]" * 40_000 + b"}}", InvalidInput),
        (b'{"message":"a","metadata":{"x":"' + b"y" * 17_000 + b'"}}', InvalidInput),
        (b'{"message":[]}', InvalidInput),
        (b'{"message":[' + b",".join([b'{"type":"text","text":"a"}'] * 101) + b"]}", InvalidInput),
        (b'{"message":[{"type":"video","text":"a"}]}', InvalidInput),
        (b'{"message":["a"]}', InvalidInput),
        (b'{"message":"a","options":{"temperature":3}}', InvalidInput),
        (b'{"message":"a","options":{"temprature":1}}', InvalidInput),
        (b'{"message":"a","options":{"tool_choice":' + b"[" * 40 + b"]" * 40 + b"}}", InvalidInput),
        (b'{"message":"a","options":{"response_format":{"x":"' + b"y" * 66_000 + b'"}}}', InvalidInput),
        (b'{"message":"a","parent":-2}', InvalidInput),
    ],
)
async def test_bad_bodies(body: bytes, error: type[TurnwireError]):
    with pytest.raises(error):
        await read(body)


async def test_parts_and_options_arrive_as_json():
    audio = {"type": "input_audio", "input_audio": {"url": "data:audio/wav;base64,UklGRg=="}}
    body = {"message": [{"type": "text", "text": "hear"}, audio], "options": {"seed": 7, "stop": ["x"]}, "parent": 3}
    asked = await read(msgspec.json.encode(body))
    assert (asked.message, asked.options, asked.parent) == (body["message"], body["options"], 3)
    assert (await read(b'{"message":[{"type":"text","text":"hi"}],"options":{}}')) == TurnRequest(message="hi")


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.sampled_from(FIELDS), children),
).map(msgspec.json.encode))  # fmt: skip
def test_no_body_raises_anything_else(body: Any):
    with contextlib.suppress(BadRequest, InvalidInput):
        parse(body, TurnBody)


@pytest.mark.parametrize(
    "body",
    [
        {"message": "a", "on_busy": "x" * 100_000},
        {"message": "a", "x" * 100_000: 1},
        {"message": "a", "on_busy": "it's 'quoted' `so` " * 5000},
        {"message": "a", "metadata": {"x" * 5000: {"y" * 5000: float("1e300")}}, "user": 7},
    ],
)
async def test_a_refusal_does_not_repeat_the_body(body: dict[str, Any]):
    with pytest.raises(InvalidInput) as refused:
        await read(msgspec.json.encode(body), limit=1_000_000)
    assert 10 < len(str(refused.value)) <= 300
    assert "x" * 50 not in str(refused.value)
