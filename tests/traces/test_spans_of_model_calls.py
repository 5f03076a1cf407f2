"""The span of a request to a model server: how it ends, and that nothing of the request or the answer is in it."""

import httpx
import msgspec
import pytest

from tests.traces.memory import Kept, traced
from tests.worker.backends.rawserver import HEAD, RESET, raw_server, reply, sse, text
from turnwire.worker.backends.answer import StreamedAnswer
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.backends.openai import OpenAIBackend
from turnwire.worker.backends.quirks import Quirks
from turnwire.worker.backends.responses import Translation
from turnwire.worker.backends.retry import RetryPolicy
from turnwire.worker.backends.sse import SseEvent
from turnwire.worker.backends.traced import request_span

ONCE = RetryPolicy(max_attempts=1)
MESSAGES = [{"role": "user", "content": "PLANTED"}]
REQUEST = {"model": "tiny", "messages": MESSAGES, "max_tokens": 9, "stop": "PLANTED"}


async def asked(kept: Kept, *steps) -> None:
    async with raw_server() as server:
        server.play(*steps)
        backend = OpenAIBackend(server.url, "PLANTED-key", "tiny", ONCE)
        try:
            stream = backend.stream(MESSAGES, idempotency_key="k", on_call=lambda _: None)
            with pytest.raises(BackendTransportError):
                async for _ in stream:
                    pass
        finally:
            await backend.aclose()
    assert "PLANTED" not in kept.one("chat tiny").to_json()


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([reply(429, b'{"error": "PLANTED"}')], "429"),
        ([RESET], "BackendTransportError"),
        ([HEAD, sse(text("PLANTED")), RESET], "BackendTruncatedError"),
        ([HEAD, sse({"error": {"message": "PLANTED"}})], "BackendReportedError"),
    ],
)
async def test_a_span_says_how_a_request_failed(steps, error):
    with traced() as kept:
        await asked(kept, *steps)
    assert kept.attributes("chat tiny")["error.type"] == error


@pytest.mark.parametrize("reads", [False, True])
def test_a_request_that_reads_an_answer_again_says_so(reads):
    with traced() as kept:
        request_span(REQUEST, "openai", httpx.URL("https://models.example/v1"), reads=reads).end()
    attributes = kept.attributes("chat tiny")
    assert attributes.get("turnwire.read_again", False) is reads
    assert (attributes["server.address"], attributes["server.port"]) == ("models.example", 443)
    assert attributes["gen_ai.request.max_tokens"] == 9
    assert "PLANTED" not in kept.one("chat tiny").to_json()


def test_the_responses_api_names_model_and_answer_too():
    ended = {"type": "response.completed", "response": {"id": "resp_1", "model": "tiny-2026", "usage": {}}}
    answer = StreamedAnswer("openai", Quirks())
    for chunk in Translation().chunks(SseEvent(msgspec.json.encode(ended).decode())):
        list(answer.take(SseEvent(chunk if isinstance(chunk, str) else msgspec.json.encode(chunk).decode())))
    assert (answer.model, answer.id) == ("tiny-2026", "resp_1")
