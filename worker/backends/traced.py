"""The spans of model calls, by the semantic conventions for generative AI. They hold no message and no answer.

Each request has a span. So one call has several if its first requests failed, or if it went on with an answer that
broke off.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx

from turnwire.shared.tracing import NO_SPAN, Span, fail_by, tracing
from turnwire.worker.backends.answer import StreamedAnswer
from turnwire.worker.backends.errors import BackendTransportError

_PORTS: Final = {"http": 80, "https": 443}
_NUMBERS: Final = ("temperature", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty")


def request_span(request: Mapping[str, Any], provider: str, url: httpx.URL, *, reads: bool = False) -> Span:
    """Begin the span of one request. `provider`: the name of the backend. `reads`: see Asked."""
    if not tracing.on:
        return NO_SPAN
    attributes = _attributes_of(request, provider, url)
    if reads:
        attributes["turnwire.read_again"] = True  # its tokens are those of an earlier request
    return tracing.begin(f"chat {request['model']}", attributes, "client")


@contextmanager
def traced(answer: StreamedAnswer) -> Generator[None]:
    """End the span of the answer's request with the block, which sends that request."""
    begun_s = time.perf_counter()
    try:
        yield
    except BackendTransportError as failure:
        refused = failure.status and not 200 <= failure.status < 300
        answer.span.fail(str(failure.status) if refused else type(failure).__name__)
        raise
    except BaseException as error:
        fail_by(answer.span, error)
        raise
    finally:
        if answer.span is not NO_SPAN:
            answer.span.set(_known_of(answer, begun_s))
            answer.span.end()


def _attributes_of(request: Mapping[str, Any], provider: str, url: httpx.URL) -> dict[str, str | int | float | bool]:
    attributes: dict[str, str | int | float | bool] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": request["model"],
        "gen_ai.request.stream": True,
        "server.address": url.host,
        "server.port": url.port or _PORTS[url.scheme],
    }
    for name in _NUMBERS:
        value = request.get(name)
        if isinstance(value, int | float):
            attributes[f"gen_ai.request.{name}"] = value
    return attributes


def _known_of(answer: StreamedAnswer, begun_s: float) -> dict[str, Any]:
    call, first_s = answer.call("", partial=False), answer.first_chunk_s
    known = {
        "gen_ai.response.model": answer.model,
        "gen_ai.response.id": answer.id,
        "gen_ai.response.finish_reasons": [call.finish_reason] if call.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": None if first_s is None else first_s - begun_s,
        "gen_ai.usage.input_tokens": call.tokens_in,
        "gen_ai.usage.output_tokens": call.tokens_out,
        "gen_ai.usage.cache_read.input_tokens": call.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": call.reasoning_tokens,
    }
    return {name: value for name, value in known.items() if value is not None}
