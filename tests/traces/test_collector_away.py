"""A collector that never answers, or is away: the turns run, the processes stop in time, and the log stays short."""

import os
import re
import time
from pathlib import Path

import httpx
import pytest

from stack.cluster import Stack
from stack.network import free_port
from tests.support.collector import hanging_collector
from tests.support.waiting import LOAD_S, wait_until
from turnwire.shared.otel import CLOSE_S

ENV = {
    "OTEL_BSP_SCHEDULE_DELAY": "20",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    "TURNWIRE_DRAIN_S": "0",
    "TURNWIRE_HOOKS": "chaos.product:hooks",
    "CHAOS_LEDGER": os.devnull,
}
ASKED = {"message": "hi", "metadata": {"events": 1}}
TOLD = re.compile(r"opentelemetry|otel|export|span", re.IGNORECASE)


def run_turns(stack: Stack, count: int) -> None:
    for number in range(count):
        answer = httpx.post(f"{stack.base_urls[0]}/v1/sessions/s/turns/{number}", json=ASKED)
        assert "session.run.completed" in answer.text, answer.text


def stop_and_time(stack: Stack) -> dict[str, float]:
    """Stop every process. Returns how many seconds each took."""
    took_s = {}
    for service in stack.services:
        asked_s = time.monotonic()
        service.terminate()
        assert service.wait(30) == 0, service.last_lines()
        took_s[service.name] = time.monotonic() - asked_s
    return took_s


async def test_a_collector_that_never_answers_holds_up_nothing(tmp_path: Path):
    with hanging_collector() as hanging, Stack(tmp_path, env=ENV | hanging.env) as stack:
        run_turns(stack, 3)
        await wait_until(lambda: hanging.requests >= 2, "both processes to send spans")
        took_s = stop_and_time(stack)
    assert max(took_s.values()) < CLOSE_S + LOAD_S, took_s


@pytest.mark.parametrize("service", ["api", "worker"])
def test_a_collector_that_is_away_is_one_line_in_the_log(away: Stack, service: str):
    log = getattr(away, service)[0].log_path.read_text()
    assert len([line for line in log.splitlines() if TOLD.search(line)]) == 1, log


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    env = ENV | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    with Stack(tmp_path_factory.mktemp("away"), env=env) as stack:
        run_turns(stack, 3)
        stop_and_time(stack)
    return stack
