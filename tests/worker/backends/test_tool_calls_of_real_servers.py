"""Tool calls as real servers send them, and as they go back to the server."""

import msgspec
import pytest

from tests.worker.backends.chunks import CALLED, call, delta, finish, tool
from tests.worker.backends.rawserver import HEAD, sse
from turnwire.worker.backends.attachments import Attachments
from turnwire.worker.backends.errors import BackendTruncatedError
from turnwire.worker.backends.messages import assistant_message

TWO = [("find", '{"q":1}'), ("read", '{"n":2}')]


@pytest.mark.parametrize(
    ("fragments", "calls"),
    [
        pytest.param([call("find", '{"q":1}', index=0, id=""), call("read", '{"n":2}', index=0, id="")], TWO,
                     id="two names at the same index"),
        pytest.param([call("find", '{"q":1}', index=0, id=""), call("find", '{"q":2}', index=0, id="")],
                     [("find", '{"q":1}'), ("find", '{"q":2}')], id="the same name at the same index"),
        pytest.param([call("find", '{"q"', index=0), call("find", ":1}", index=0), call("read", '{"n":2}', index=1)],
                     TWO, id="the name in every fragment"),
        pytest.param([call("find", '{"q":1}', index=0, id="find"), call("find", '{"q":2}', index=1, id="find")],
                     [("find", '{"q":1}'), ("find", '{"q":2}')], id="the name as the id"),
        pytest.param([call("find", {}, index=0, id="a"), call(None, '{"q"', index=0), call(None, ":1}", index=0)],
                     TWO[:1], id="an empty object first"),
        pytest.param([call("now", "{}", index=0, id=""), call("then", "{}", index=0, id="")],
                     [("now", "{}"), ("then", "{}")], id="no arguments twice"),
        pytest.param([call("find", '{"q":"}', index=0, id="a"), call(None, '{"}', index=0)], [("find", '{"q":"}{"}')],
                     id="braces in a text"),
        pytest.param([call("find", '{"q"', index="0", id=7), call(None, ":1}", index="0")], TWO[:1], id="texts"),
        pytest.param([call("find", '{"q"', index=0, id="a"), call("", ":1}", index=0, id="")], TWO[:1], id="empty"),
        pytest.param([delta(function_call={"name": "find", "arguments": '{"q"'}),
                      delta(function_call={"arguments": ":1}"})], TWO[:1], id="the old field"),
        pytest.param([delta(tool_calls=[None, {"index": 0, "function": {"name": "find", "arguments": '{"q":1}'}}])],
                     TWO[:1], id="an entry that is none"),
        pytest.param([call("now", "", index=0, id="a")], [("now", "{}")], id="no arguments"),
    ],
)  # fmt: skip
async def test_fragments_are_put_together(raw, ask, fragments, calls):
    raw.play(HEAD + sse(*fragments, CALLED, "[DONE]"))
    made = (await ask(raw.url).run()).data("tool.call")
    assert [(one["name"], one["arguments"]) for one in made] == calls
    assert len({one["id"] for one in made} - {""}) == len(calls), "each call has an id of its own"


async def test_a_number_is_an_id(raw, ask):
    raw.play(HEAD + sse(call("find", "{}", index=0, id=7), CALLED))
    assert (await ask(raw.url).run()).data("tool.call")[0]["id"] == "7"


@pytest.mark.parametrize("reason", ["length", "content_filter", "MAX_TOKENS", "model_length", "max_output_tokens"])
async def test_half_a_call_is_no_call(raw, ask, reason):
    raw.play(HEAD + sse(call("write", '{"text":"abc', index=0, id="a"), finish(reason), "[DONE]"))
    asking = ask(raw.url)
    with pytest.raises(BackendTruncatedError, match="inside a tool call") as caught:
        await asking.run()
    assert (asking.data("tool.call"), caught.value.retryable) == ([], False)


async def test_a_whole_call_before_the_limit_is_a_call(raw, ask):
    raw.play(HEAD + sse(call("write", '{"text":"abc"}', index=0, id="a"), finish("length"), "[DONE]"))
    assert len((await ask(raw.url).run()).data("tool.call")) == 1


async def test_what_the_server_wants_back_goes_back(raw, ask):
    signature = {"google": {"thought_signature": "SIG=="}}
    details = [
        {"type": "reasoning.text", "index": 0, "text": "I "},
        {"type": "reasoning.text", "index": 0, "text": "see"},
    ]
    raw.play(
        HEAD
        + sse(
            delta(reasoning_content="hm", reasoning_details=details[:1]),
            delta(reasoning_details=[*details[1:], {"type": "reasoning.encrypted", "data": "x"}]),
            tool(index=0, id="a", extra_content=signature, function={"name": "find", "arguments": "{}"}),
            CALLED,
        )
    )
    events = (await ask(raw.url).run()).events
    message = assistant_message(events, reasoning_field="reasoning_content")
    assert message == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "hm",
        "reasoning_details": [{**details[0], "text": "I see"}, {"type": "reasoning.encrypted", "data": "x"}],
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "find", "arguments": "{}"}, "extra_content": signature}
        ],
    }
    assert "reasoning_content" not in assistant_message(events)


def test_reasoning_without_end_is_not_kept_and_left_out(caplog):
    attachments = Attachments(1000)
    pieces = [{"type": "reasoning.text", "text": "x" * 100}, {"type": "reasoning.encrypted", "data": "x" * 100}]
    for _ in range(500):
        assert list(attachments.take({"reasoning_details": pieces})) == []
    assert len(str(attachments._details)) < 5000
    assert attachments.last_events() == []
    assert "larger than an event" in caplog.text


@pytest.mark.parametrize("arguments", ['{"q": "x', "[1]", ""])
def test_arguments_that_are_no_object_go_back_as_one(arguments):
    called = {"type": "tool.call", "data": {"id": "a", "name": "find", "arguments": arguments}}
    [sent] = assistant_message([called])["tool_calls"]
    expected = {"invalid_arguments": arguments} if arguments else {}
    assert msgspec.json.decode(sent["function"]["arguments"]) == expected


async def test_large_arguments_come_in_several_pieces_and_as_one_call(raw, ask):
    arguments = '{"text":"' + "x" * 100_000 + '"}'
    raw.play(HEAD + sse(call("write", arguments, index=0, id="a"), CALLED))
    asking = await ask(raw.url).run()
    pieces = [data["arguments"] for data in asking.data("tool.call.delta")]
    assert ("".join(pieces), max(map(len, pieces))) == (arguments, 16_384)
    assert asking.data("tool.call")[0]["arguments"] == arguments
