"""The whole service against a real OpenAI-compatible server: what `TURNWIRE_LLM_BASE_URL` promises."""

import json

import httpx
import pytest

from stack.cluster import Stack


@pytest.fixture
def ask_turn(tmp_path, llmock_server):
    """POSTs a message to a turn of one session; returns the lines of its stream."""
    env = {
        "TURNWIRE_LLM_BASE_URL": llmock_server.url,
        "TURNWIRE_LLM_API_KEY": "sk-secret",
        "TURNWIRE_LLM_MODEL": "tiny",
    }
    with Stack(tmp_path, env=env) as stack, httpx.Client(base_url=stack.base_urls[0], trust_env=False) as http:

        def ask(index: int, message: str) -> list[dict]:
            response = http.post(f"/v1/sessions/demo/turns/{index}", json={"message": message})
            assert response.status_code == 200, response.text
            return [json.loads(line) for line in response.text.splitlines()]

        yield ask


def test_a_conversation_streams_and_carries_its_history_and_is_never_paid_twice(ask_turn, llmock_server):
    llmock_server.script({"type": "reply", "text": "Hello, Ada"}, {"type": "reply", "text": "You are Ada"})
    first = ask_turn(0, "I am Ada")
    deltas = [line["data"]["delta"] for line in first if line["type"] == "message.part.updated"]
    assert len(deltas) > 1
    assert "".join(deltas) == "Hello, Ada"
    second = ask_turn(1, "Who am I?")
    assert second[-2]["data"] == {"finalText": "You are Ada", "finishReason": "stop"}
    assert ask_turn(1, "Who am I?")[-1]["data"]["replayed"] is True
    requests = llmock_server.requests()
    assert len(requests) == 2
    assert requests[1]["body"]["messages"] == [
        {"role": "user", "content": "I am Ada"},
        {"role": "assistant", "content": "Hello, Ada"},
        {"role": "user", "content": "Who am I?"},
    ]
    llmock_server.assert_clean()


def test_a_refusal_of_the_model_server_fails_the_turn_and_names_no_host(ask_turn, llmock_server):
    llmock_server.script({"type": "fail", "status": 401, "times": None})
    lines = ask_turn(0, "hello")
    assert [line["type"] for line in lines] == ["session.run.started", "error", "session.run.failed"]
    error = lines[1]["data"]
    assert error["code"] == "auth"
    assert error["retryable"] is False
    assert "401" in error["message"]
    assert "127.0.0.1" not in json.dumps(lines)
