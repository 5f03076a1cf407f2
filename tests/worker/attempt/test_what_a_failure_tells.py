"""What clients read of a failure: the class of a model server's refusal, and when it is worth asking again."""

import pytest

from tests.testing.products import Says
from turnwire import TurnFailure
from turnwire.shared.model import TurnError
from turnwire.testing import run_turn
from turnwire.worker.backends.errors import BackendTransportError


async def test_a_refusal_tells_its_reason_and_when_to_ask_again():
    async def refused(turn):
        yield {"type": "x", "data": {}}
        raise BackendTransportError(
            "the model server answered with status 429", kind="openai", status=429, retryable=True,
            retry_after_ms=86_400_000, reason="rate_limit",
        )  # fmt: skip

    run = await run_turn(Says(refused), "hello")
    assert run.error == TurnError("rate_limit", "the model server answered with status 429", True, 86_400_000)
    error, failed = run.events[-2:]
    assert (error.type, error.data["code"], error.data["retryAfterMs"]) == ("error", "rate_limit", 86_400_000)
    assert failed.data["code"] == "rate_limit"


@pytest.mark.parametrize("wait_s", [None, float("nan"), float("inf"), -1, True, "soon", 10**12])
async def test_a_wait_that_is_no_time_is_not_told(wait_s):
    async def fails(turn):
        yield {"type": "x", "data": {}}
        failure = TurnFailure("no")
        failure.retry_after_s = wait_s
        raise failure

    run = await run_turn(Says(fails), "hello")
    assert run.error == TurnError("turn_failed", "no", retryable=False)
    assert "retryAfterMs" not in run.events[-2].data


@pytest.mark.parametrize(("told", "kept"), [(1500, 1500), (0, 0), ("1", None), (-1, None)])
async def test_a_producer_s_own_error_event_may_say_it_too(told, kept):
    async def reports(turn):
        yield {"type": "error", "data": {"message": "no", "code": "busy", "retryAfterMs": told}}

    assert (await run_turn(Says(reports), "hello")).error == TurnError("busy", "no", False, kept)
