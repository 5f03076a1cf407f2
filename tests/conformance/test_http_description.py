"""The description is true: each operation is brought to give every answer that is described, over real HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from stack.cluster import Stack
from tests.conformance.conversation import DELTA, Conversation, say
from tests.conformance.description import Description
from tests.conformance.recorder import Recorder
from tests.support.key_file import key_block, write_key_file
from turnwire.shared.keys import WORKERS, TurnKey

EVENT_STREAM = {"Accept": "text/event-stream"}
IMAGE = {"Accept": "image/png"}
RESPOND_ASYNC = {"Prefer": "respond-async"}
ONE_SESSION = {"session": "demo", "scopes": ["read"]}
FAKE_WORKER = "nowhere/1/aaaaaa"
PROBES = {"isAlive", "isReady"}
ASKING = {"askTurn", "askNextTurn"}
OF_TURNS = {"cancelTurn", "signalTurn", "requeueTurn", "cancelAnyTurn"}
OF_WORKERS = {"drainWorker", "killWorker"}
OF_PAUSES = {"pauseTenant", "resumeTenant", "pauseProject", "resumeProject"}
OF_TOKENS = {"makeToken", "revokeTokens"}


@pytest.fixture
def description(ours: Stack) -> Description:
    """Return the description, of which no answer has been seen yet."""
    return Description(httpx.get(f"{ours.base_urls[0]}/openapi.json", trust_env=False).json())


def client(url: str, description: Description) -> httpx.Client:
    hooks: Any = {"response": [description.check]}
    return httpx.Client(base_url=url, timeout=25, trust_env=False, event_hooks=hooks)


@pytest.fixture
def talk(ours: Stack, recorder: Recorder, description: Description) -> Iterator[Conversation]:
    """Return a conversation in which every answer is checked."""
    with client(ours.base_urls[0], description) as http:
        yield Conversation(http, recorder)


@pytest.fixture
def full(tmp_path: Path, description: Description) -> Iterator[tuple[Stack, httpx.Client]]:
    """Run an API without a worker, whose queue takes one turn, on a Redis of its own that a test may stop."""
    env = {"TURNWIRE_MAX_QUEUED": "1", "TURNWIRE_REDIS_TIMEOUT_S": "0.2"}
    with Stack(tmp_path, workers=0, apis=1, env=env) as stack, client(stack.base_urls[0], description) as http:
        yield stack, http


@pytest.fixture
def guarded(ours: Stack, tmp_path: Path, description: Description) -> Iterator[httpx.Client]:
    """Run an API that asks for credentials. Returns a client without any."""
    keys = [key_block(f"of-{scope}", f"tw_{scope}", "acme", [scope]) for scope in ("tokens", "read")]
    keys += [key_block("both", "tw_both", "acme", ["tokens", "read"])]
    keys += [key_block("slow", "tw_slow", "slow", ["turns", "tokens", "admin", "metrics"])]
    path = write_key_file(tmp_path / "keys.toml", *keys, "[tenant.slow]\nrequests_per_s = 0.001")
    env = {"TURNWIRE_API_KEYS_FILE": str(path), "TURNWIRE_TOKEN_SECRET": "s" * 40}
    with (
        Stack(tmp_path, workers=0, apis=1, env=env, redis=ours.redis) as stack,
        client(stack.base_urls[0], description) as http,
    ):
        yield http


def paths(talk: Conversation, index: int = 0) -> dict[str, tuple[str, str]]:
    """Return a method and a path of this conversation for each operation id."""
    turn, session, run_id = talk.path(index), f"/v1/sessions/{talk.id}", talk.run_id(index)
    worker = f"/v1/admin/workers/{FAKE_WORKER.replace('/', '%2F')}"
    return {
        "eraseSession": ("DELETE", session),
        "eraseUser": ("DELETE", f"/v1/users/{talk.id}"),
        "askNextTurn": ("POST", talk.turns),
        "listTurns": ("GET", talk.turns),
        "askTurn": ("POST", turn),
        "getTurn": ("GET", turn),
        "followTurn": ("GET", f"{turn}/events"),
        "followSession": ("GET", f"{session}/events"),
        "getLedger": ("GET", f"{turn}/ledger"),
        "getSessionUsage": ("GET", f"{session}/usage"),
        "getUsage": ("GET", "/v1/usage"),
        "cancelTurn": ("POST", f"{turn}/cancel"),
        "signalTurn": ("POST", f"{turn}/signals/approval"),
        "makeToken": ("POST", "/v1/tokens"),
        "revokeTokens": ("POST", "/v1/tokens/revoke"),
        "listModels": ("GET", "/v1/models"),
        "getInfo": ("GET", "/v1/info"),
        "listWorkers": ("GET", "/v1/admin/workers"),
        "listLeases": ("GET", "/v1/admin/leases"),
        "findTurns": ("GET", "/v1/admin/turns"),
        "getStory": ("GET", f"/v1/admin/turns/{run_id}"),
        "requeueTurn": ("POST", f"/v1/admin/turns/{run_id}/requeue"),
        "cancelAnyTurn": ("POST", f"/v1/admin/turns/{run_id}/cancel"),
        "drainWorker": ("POST", f"{worker}/drain"),
        "killWorker": ("POST", f"{worker}/kill"),
        "pauseTenant": ("POST", "/v1/admin/tenants/nowhere/pause"),
        "resumeTenant": ("POST", "/v1/admin/tenants/nowhere/resume"),
        "pauseProject": ("POST", "/v1/admin/projects/nowhere/pause"),
        "resumeProject": ("POST", "/v1/admin/projects/nowhere/resume"),
        "listUsage": ("GET", "/v1/admin/usage"),
        "listPending": ("GET", "/v1/admin/persist"),
        "listCallbacks": ("GET", "/v1/admin/callbacks"),
        "listAudit": ("GET", "/v1/admin/audit"),
        "getQueue": ("GET", "/v1/admin/queue"),
        "getMetrics": ("GET", "/metrics"),
        "isAlive": ("GET", "/healthz"),
        "isReady": ("GET", "/readyz"),
    }


def refusals(talk: Conversation) -> None:
    """Call each operation with a wrong method, id, body or media type, and for a session that does not exist."""
    for name, (method, path) in paths(talk).items():
        talk.http.request("PATCH", path)
        if method == "GET":
            talk.http.get(path, headers=IMAGE)
            talk.http.get(path)
            talk.http.get(path.replace(talk.id, "~"))
            continue
        talk.http.request(method, path.replace(talk.id, "~").replace("nowhere", "n" * 300))
        if method == "DELETE" or name in OF_TURNS | OF_WORKERS | OF_PAUSES:
            talk.http.request(method, path)
            talk.http.request(method, path, headers={"Origin": "http://elsewhere.example"})
        if method == "POST":
            large = b"1" * (2_000_000 if name not in {"cancelTurn", "makeToken"} else 5000)
            talk.http.post(path, content=large, headers={"content-type": "application/json"})
            talk.http.post(path, content=b"{}", headers={"content-type": "text/plain"})
            talk.http.post(path, json={"unknown": 1})
        if name in ASKING:
            talk.http.post(path, json=talk.body(), headers=IMAGE)
    for listed in ("persist", "callbacks", "leases", "turns"):
        talk.http.get(f"/v1/admin/{listed}?after=x")
    talk.http.get("/v1/admin/usage?limit=0")
    assert talk.http.post("/v1/tokens", json=ONE_SESSION).status_code == 404  # this server makes none
    talk.http.get("/v1/admin/audit?after=x")
    talk.http.delete("/v1/users/" + "u" * 257)


def reading(talk: Conversation) -> None:
    """Get each answer about a completed turn."""
    for name, (method, path) in paths(talk).items():
        if name == "followSession":  # it does not end by itself
            with talk.http.stream(method, path) as answer:
                assert next(answer.iter_lines())
        elif method == "GET":
            talk.http.get(path)
            talk.http.head(path) if name != "followTurn" else None
    last = talk.events()[-1]["id"]
    talk.http.get(talk.path(0, "/events"), headers={**EVENT_STREAM, "Last-Event-ID": last})
    talk.http.get(talk.path(0, "/events"), headers=EVENT_STREAM)
    talk.http.post(talk.path(0, "/cancel"))
    talk.http.post(talk.path(0, "/signals/approval"))
    talk.http.post(f"/v1/admin/turns/{talk.run_id(0)}/cancel")
    talk.http.post(f"/v1/admin/turns/{talk.run_id(0)}/requeue")


def asking(talk: Conversation) -> None:
    """Ask a turn in each format of the answer, and its replay in each format."""
    talk.ask(0)
    for headers in ({}, EVENT_STREAM, RESPOND_ASYNC, {"Accept": "application/json"}):
        talk.post(0, headers=headers)
    talk.ask(None)
    hold = talk.hold("asynchronous")  # or the turn may have ended when the answer is written, and that is a 200
    body = talk.body({"play": [say("a"), {"hold": hold}]})
    assert talk.http.post(talk.turns, json=body, headers=RESPOND_ASYNC).status_code == 202
    talk.recorder.release(hold)
    talk.finished(2)


def running(talk: Conversation) -> None:
    """Get the answers about a turn that runs. It is cancelled while it waits for a signal."""
    hold = talk.hold("middle")
    with talk.stream(3, {"play": [say("a"), {"hold": hold}, {"signal": "approval"}]}) as reading:
        reading.until(DELTA)
        talk.http.get(talk.path(3, "/events"), params={"after": "1-99"})
        talk.http.post(talk.turns, json=talk.body(on_busy="reject"))
        talk.http.post(talk.path(3), json=talk.body({"play": []}, on_busy="reject"))
        talk.http.post(talk.path(4), json=talk.body(on_busy="reject"))
        talk.submit(4)
        assert [talk.http.post(talk.path(4, "/signals/approval"), json={"payload": n}).status_code for n in (1, 2)] == [
            202, 200,
        ]  # fmt: skip
        assert talk.http.post(f"/v1/admin/turns/{talk.run_id(4)}/requeue").status_code == 202
        assert talk.http.post(talk.path(4, "/cancel"), json={"reason": "changed"}).status_code == 202
        talk.submit(5)
        assert talk.http.post(f"/v1/admin/turns/{talk.run_id(5)}/cancel").status_code == 202
        assert talk.http.post(talk.path(3, "/cancel")).status_code == 202
        reading.rest()


def unreadable(talk: Conversation, stack: Stack) -> None:
    """Call each operation on a turn that another version wrote."""
    talk.ask(0)
    assert stack.redis is not None
    key = TurnKey.parse(talk.run_id(0))
    with redis.Redis.from_url(stack.redis.url) as client:
        client.hset(key.record, "status", "of another version")
        client.hset(key.ledger, "1", "{")
        client.hset(key.session.record, "usage:rows", "many")
    for name in ("getTurn", "followTurn", "getLedger", "getSessionUsage", "cancelTurn", "getStory", "cancelAnyTurn"):
        method, path = paths(talk)[name]
        assert talk.http.request(method, path).status_code == 409, name


def draining(talk: Conversation, stack: Stack) -> None:
    """Drain a worker that registers once, and of which nothing else exists."""
    assert stack.redis is not None
    with redis.Redis.from_url(stack.redis.url) as client:
        client.hset(WORKERS, FAKE_WORKER, "{}")
        assert talk.http.post(paths(talk)["drainWorker"][1]).status_code == 202
        client.hdel(WORKERS, FAKE_WORKER)


def unavailable(talk: Conversation, stack: Stack, http: httpx.Client) -> None:
    """Fill the queue, then stop the store."""
    assert http.post("/v1/sessions/first/turns/0", json={"message": "m"}, headers=RESPOND_ASYNC).status_code == 202
    for path in (talk.path(0), talk.turns):
        assert http.post(path, json={"message": "m"}).status_code == 429
    assert stack.redis is not None
    stack.redis.stop()
    for name, (method, path) in paths(talk).items():
        body = {"message": "m"} if name in ASKING else {"id": "some-token"} if name == "revokeTokens" else None
        asks_nothing = {
            "isAlive": 200,
            "listModels": 200,
            "getInfo": 200,
            "getMetrics": 200,
            "makeToken": 400,
            "killWorker": 404,
        }
        expected = asks_nothing.get(name, 503)
        assert http.request(method, path, json=body).status_code == expected, name


def unauthorized(talk: Conversation, http: httpx.Client) -> None:
    """Call each operation without credentials, and with those of another scope."""
    for name, (method, path) in paths(talk).items():
        if name in PROBES:
            continue
        assert http.request(method, path).status_code == 401, name
        answer = http.request(method, path, headers={"x-api-key": "tw_read" if name in OF_TOKENS else "tw_tokens"})
        assert answer.status_code == (200 if name == "getInfo" else 403), name
    both = {"x-api-key": "tw_both"}
    assert http.post("/v1/tokens", json=ONE_SESSION, headers=both).status_code == 200
    assert http.post("/v1/tokens/revoke", json={"id": "some-token"}, headers=both).status_code == 200


def limited(talk: Conversation, http: httpx.Client) -> None:
    """Each operation for a tenant that has sent as many requests as it may."""
    slow = {"x-api-key": "tw_slow"}
    assert http.get("/v1/usage", headers=slow).status_code == 200
    for name, (method, path) in paths(talk).items():
        if name not in PROBES:
            assert http.request(method, path, headers=slow).status_code == 429, name


def test_every_described_answer_is_given_as_described(
    talk: Conversation,
    description: Description,
    ours: Stack,
    full: tuple[Stack, httpx.Client],
    guarded: httpx.Client,
):
    refusals(talk)
    unauthorized(talk, guarded)
    limited(talk, guarded)
    asking(talk)
    reading(talk)
    running(talk)
    unreadable(talk, ours)
    draining(talk, ours)
    unavailable(talk, *full)
    assert talk.http.delete(f"/v1/sessions/{talk.id}").status_code == 200
    not_read = {(name, status) for name in paths(talk) for status in (408, 421, 431)}  # their path is not looked at
    defects = {(name, 500) for name in paths(talk)}
    not_fetched = {("makeToken", 503)}  # the keys of an identity provider
    others_session = {(name, 404) for name in ASKING}  # that of another tenant
    of_developers = {("killWorker", 202), ("killWorker", 503)}
    never = not_read | defects | others_session | not_fetched | of_developers
    assert description.answers - description.seen == never


def test_every_operation_is_driven(talk: Conversation, description: Description):
    assert {name for name, _ in description.answers} == set(paths(talk))
