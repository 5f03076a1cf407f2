"""With `auto`, each model of a server is tried once: which way of going on with an answer does it know?"""

import msgspec
import pytest

from tests.worker.backends.asking import QUESTION, QUICK
from tests.worker.backends.chunks import FINISH
from tests.worker.backends.rawserver import HEAD, RESET, reply, sse, text
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.backends.openai import OpenAIBackend
from turnwire.worker.backends.quirks import Quirks

GOES_ON = HEAD + sse(text(" four"), text(" five"), FINISH, "[DONE]")
STARTS_OVER = HEAD + sse(*map(text, ("one", " two", " three", " four")), FINISH, "[DONE]")
SAYS_IT_AGAIN = HEAD + sse(text("one two three"), text(" four"), FINISH, "[DONE]")
ANSWER = HEAD + sse(text("Yes."), FINISH, "[DONE]")
NO_SUCH_PATH = reply(404, b"{}")
REFUSES = reply(400, b'{"error":{"message":"the conversation must end with a user message"}}')


@pytest.fixture
async def backend(raw):
    backend = OpenAIBackend(raw.url, None, "tiny", QUICK, quirks=Quirks(continues="auto"))
    yield backend
    await backend.aclose()


async def answer(backend):
    events = backend.stream(QUESTION, idempotency_key="k", on_call=lambda _: None)
    return "".join([event["data"]["delta"] async for event in events])


@pytest.mark.parametrize(
    ("trials", "found"),
    [
        ([reply(204)], "llama-stream"),
        ([NO_SUCH_PATH, GOES_ON], "prefill"),
        ([reply(200, b"{}"), STARTS_OVER, GOES_ON], "flags"),
        ([reply(405), REFUSES, REFUSES, GOES_ON], "prefix"),
        ([reply(405), REFUSES, REFUSES, SAYS_IT_AGAIN], "prefix"),
        ([NO_SUCH_PATH, STARTS_OVER, REFUSES, STARTS_OVER], "off"),
    ],
)
async def test_each_model_is_tried_once(raw, backend, trials, found):
    for trial in trials:
        raw.play(trial)
    raw.play(ANSWER)
    for _ in range(2):
        assert await answer(backend) == "Yes."
    assert backend._modes.known == {"tiny": found}
    assert len(raw.requests) == len(trials) + 2
    for request in raw.requests[1 : len(trials)]:
        body = msgspec.json.decode(request.body)
        assert (body["max_tokens"], body["messages"][-1]["content"]) == (4, "one two three")
    assert ("x-conversation-id" in raw.requests[-1].headers) is (found == "llama-stream")


async def test_an_answer_goes_on_in_the_way_that_was_found(raw, backend):
    for step in (NO_SUCH_PATH, GOES_ON):
        raw.play(step)
    raw.play(HEAD, sse(text("The contract is "), text("valid only if it wa")), RESET)
    raw.play(HEAD + sse(text(" was signed."), FINISH, "[DONE]"))
    assert backend.continues_answers, "so that the log keeps what a dead worker has streamed"
    assert await answer(backend) == "The contract is valid only if it was signed."


async def test_a_server_that_is_down_is_tried_again(raw, backend):
    raw.play(reply(503))
    raw.play(ANSWER)
    raw.play(reply(204))
    raw.play(ANSWER)
    assert await answer(backend) == "Yes."
    assert backend._modes.known == {}
    assert await answer(backend) == "Yes."
    assert backend._modes.known == {"tiny": "llama-stream"}


async def test_a_key_that_is_refused_proves_nothing(raw, backend):
    raw.play(reply(401))
    with pytest.raises(BackendTransportError):
        await answer(backend)
    assert backend._modes.known == {}
