"""examples/agent.py with a real model server that streams tool calls: which tools run, what is paid, who is asked."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from stack.cluster import Stack
from tests.support.llmock import Llmock, running_llmock
from tests.support.waiting import wait_until
from turnwire.shared import keys

HERE = Path(__file__).parent
Line = dict[str, Any]


def calls(*names: str) -> dict[str, Any]:
    """Return the model's answer that calls these tools for order 7."""
    return {"type": "reply", "tool_calls": [{"name": name, "arguments": {"order": "7"}} for name in names]}


def says(text: str) -> dict[str, Any]:
    return {"type": "reply", "text": text}


class Shop:
    """The agent, its model server, and a session for each test."""

    def __init__(self, stack: Stack, model: Llmock, http: httpx.Client, tools: Path, session: str) -> None:
        assert stack.redis
        self.stack, self.model, self.http = stack, model, http
        self.key = keys.session_key(session).turn(0)
        self.turn = f"{stack.base_urls[0]}/v1/sessions/{session}/turns/0"
        self.redis: Any = Redis.from_url(stack.redis.url)
        self._tools = tools

    def tools(self) -> list[str]:
        """Return the tools that were run."""
        return self._tools.read_text().split() if self._tools.exists() else []

    @contextmanager
    def ask(self, message: str = "My order 7 came broken.") -> Iterator[Iterator[Line]]:
        with self.http.stream("POST", self.turn, json={"message": message}) as response:
            assert response.status_code == 200
            yield (json.loads(raw) for raw in response.iter_lines())

    def approve(self, number: int = 1, *, ok: bool = True) -> None:
        response = self.http.post(f"{self.turn}/signals/approval-{number}", json={"payload": {"ok": ok}})
        assert response.status_code == 202, response.text

    def tool_results(self) -> list[Any]:
        """Return the tools' results that the model got in its last request."""
        messages = self.model.requests()[-1]["body"]["messages"]
        return [json.loads(message["content"]) for message in messages if message["role"] == "tool"]


def until(lines: Iterator[Line], event_type: str) -> list[Line]:
    """Return the lines up to the next one of this type."""
    seen: list[Line] = []
    for line in lines:
        seen.append(line)
        if line["type"] == event_type:
            return seen
    raise AssertionError(f"no {event_type}: {seen}")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agent")


@pytest.fixture(scope="module")
def model(directory: Path) -> Iterator[Llmock]:
    with running_llmock(directory) as server:
        yield server


@pytest.fixture(scope="module")
def stack(directory: Path, model: Llmock) -> Iterator[Stack]:
    env = {"TURNWIRE_HOOKS": "agent_that_dies:hooks", "PYTHONPATH": str(HERE), "CALLS": str(directory / "tools")}
    env |= {"TURNWIRE_LLM_BASE_URL": model.url, "TURNWIRE_DRAIN_S": "1", "TURNWIRE_LEASE_MS": "1000"}
    with Stack(directory, workers=2, env=env) as stack:
        yield stack


@pytest.fixture
def shop(stack: Stack, model: Llmock, directory: Path) -> Iterator[Shop]:
    model.reset()
    (directory / "tools").unlink(missing_ok=True)
    with httpx.Client(timeout=20, trust_env=False) as http:
        yield Shop(stack, model, http, directory / "tools", uuid.uuid4().hex)


async def test_a_crash_a_wait_and_an_approval_cost_nothing_twice(shop: Shop):
    shop.model.script(calls("look_up"), calls("refund"), says("You get 40 euros back."))
    with shop.ask("die: my order 7 came broken") as lines:
        before = until(lines, "session.run.suspended")
        assert sum(worker.running for worker in shop.stack.worker) == 1, "no worker died, so nothing was tested"
        assert [line["data"]["reason"] for line in before if line["type"] == "session.run.resumed"] == ["lease_expired"]
        fragments = [line for line in before if line["type"] == "tool.call.delta"]
        assert len(fragments) > 2, "the calls were not streamed"
        assert shop.tools() == ["look_up"]
        assert len(shop.model.requests()) == 2
        await wait_until(lambda: is_given_up(shop), "no worker holds the turn that waits")
        shop.approve()
        after = list(lines)
    assert after[-1]["type"] == "session.run.completed"
    assert after[-2]["data"] == {"finalText": "You get 40 euros back."}
    assert shop.tools() == ["look_up", "refund"]
    asked = shop.model.requests()
    assert [request["status"] for request in asked] == [200, 200, 200]
    assert [message["role"] for message in asked[2]["body"]["messages"]] == [
        "user", "assistant", "tool", "assistant", "tool",
    ]  # fmt: skip
    record = shop.http.get(shop.turn).json()
    assert (record["attempt"], record["usage"]["model_calls"]) == (3, 3)
    shop.model.assert_clean()


def is_given_up(shop: Shop) -> bool:
    """Return whether neither a lease nor a job nor a claim of the turn is left."""
    job = shop.redis.zscore(keys.QUEUE, shop.key.run_id)
    return not shop.redis.exists(shop.key.lease, keys.in_progress(shop.key.run_id)) and job is None


def test_a_human_may_refuse_and_the_model_is_told(shop: Shop):
    shop.model.script(calls("refund"), says("They said no."))
    with shop.ask() as lines:
        until(lines, "session.run.suspended")
        shop.approve(ok=False)
        assert until(lines, "result")[-1]["data"] == {"finalText": "They said no."}
    assert shop.tools() == []
    assert shop.tool_results() == [{"error": "a person refused"}]


def test_a_yes_is_for_one_call(shop: Shop):
    shop.model.script(calls("refund", "refund"), says("One of them."))
    with shop.ask() as lines:
        assert until(lines, "session.run.suspended")[-1]["data"]["awaiting"] == "approval-1"
        shop.approve(1)
        assert until(lines, "session.run.suspended")[-1]["data"]["awaiting"] == "approval-2"
        assert shop.tools() == ["refund"]
        shop.approve(2, ok=False)
        until(lines, "session.run.completed")
    assert shop.tools() == ["refund"]


@pytest.mark.parametrize("kind", ["malformed_arguments", "unknown_tool"])
def test_a_mistake_of_the_model_goes_back_to_it(shop: Shop, kind: str):
    shop.model.script({"type": "tool_fault", "kind": kind}, calls("look_up"), says("Never mind."))
    with shop.ask() as lines:
        assert until(lines, "result")[-1]["data"] == {"finalText": "Never mind."}
    assert shop.tools() == []
    assert "error" in shop.tool_results()[0]
