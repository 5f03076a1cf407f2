"""Nobody reads or changes a session that is not theirs, whatever is asked, with whatever credentials."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stack.cluster import Stack
from tests.access.world import ASYNC, SESSIONS, Caller, Session, plant
from turnwire.api.access.identity import Scope
from turnwire.api.endpoints.operation import Operation
from turnwire.api.endpoints.routes import OPERATIONS
from turnwire.shared.keys import session_key

MISSING = "of-nothing"
GUARDED = [operation for operation in OPERATIONS if operation.scope is not Scope.PUBLIC]
OF_SESSIONS = [operation for operation in GUARDED if operation.is_of_session]
READS = [operation for operation in OF_SESSIONS if operation.method == "GET"]


@pytest.fixture
def store(guarded: Stack, http: httpx.Client) -> Iterator[redis.Redis]:
    """The data of the API: the planted sessions, and nothing else."""
    assert guarded.redis is not None
    with redis.Redis.from_url(guarded.redis.url) as client:
        client.flushall()
        plant(http)
        yield client


def ask(http: httpx.Client, operation: Operation, session: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """The status and the body of one request; of a stream that does not end, the head only."""
    names = {"run_id": "chat:nothing:0", "worker": "host/1/000000", "project": "none", "tenant": "nobody"}
    path = operation.path.format(session=session, index=0, key="approval", user="nobody-known", **names)
    body: dict[str, Any] = {}
    if operation.method == "POST":
        body = {"json": {"message": "mine"} if operation.begins_session else {}}
    with http.stream(operation.method, path, headers=headers | ASYNC, **body) as answer:
        endless = operation.is_followed and answer.status_code == 200
        return answer.status_code, b"" if endless else answer.read()


def may(caller: Caller, operation: Operation) -> bool:
    included = {"read": "turns", "metrics": "admin"}.get(operation.scope)
    return operation.scope in {"any", *caller.scopes} or included in caller.scopes


def named(tenant: str, name: str) -> Session | None:
    return next((session for session in SESSIONS if (session.tenant, session.name) == (tenant, name)), None)


def test_each_reading_of_each_session_by_everybody(http: httpx.Client, everybody: list[Caller], store: redis.Redis):
    seen = set()
    for caller in everybody:
        foreign = [session.text.encode() for session in SESSIONS if not caller.opens(session)]
        for operation in READS:
            missing = ask(http, operation, MISSING, caller.headers)
            for name in {session.name for session in SESSIONS}:
                session = named(caller.tenant, name)
                answer = ask(http, operation, name, caller.headers)
                where = (caller.name, operation.name, name, answer)
                assert not [text for text in foreign if text in answer[1]], where
                if not may(caller, operation):
                    assert answer[0] == 403, where
                elif session and caller.opens(session):
                    assert answer[0] == 200, where
                else:
                    assert answer == missing, where
                    assert answer[0] == 404, where
                seen.add(answer[0])
    assert seen == {200, 403, 404}


@pytest.mark.parametrize(("key", "foreign"), [("tw_bob", "of-ada"), ("tw_bob", "of-nobody"), ("tw_other", "of-bob")])
def test_a_change_of_a_foreign_session_answers_as_that_of_a_missing_one(
    http: httpx.Client, store: redis.Redis, key: str, foreign: str
):
    changes = [each for each in OF_SESSIONS if each.method != "GET" and not each.begins_session]
    assert {operation.name for operation in changes} == {"cancelTurn", "signalTurn", "eraseSession"}
    for operation in changes:
        answer = ask(http, operation, foreign, {"x-api-key": key})
        assert answer == ask(http, operation, MISSING, {"x-api-key": key})
        assert answer[0] == 404


def test_what_is_of_no_session_tells_nothing_of_sessions(
    http: httpx.Client, everybody: list[Caller], store: redis.Redis
):
    texts = [session.text.encode() for session in SESSIONS]
    for caller in everybody:
        for operation in (each for each in GUARDED if each not in OF_SESSIONS):
            status, body = ask(http, operation, "", caller.headers)
            is_bound = (caller.user, caller.session, caller.prefix) != (None, None, None)
            of_many = operation.scope == "read" or operation.name == "eraseUser"  # of more than the bound ones
            allowed = may(caller, operation) and not (is_bound and of_many)
            assert (status == 403) is not allowed, (caller.name, operation.name, status)
            assert not [text for text in texts if text in body]


def fingerprints(store: redis.Redis, sessions: list[Session]) -> list[Any]:
    """Everything that is stored of these sessions, in one round trip."""
    pipe = store.pipeline(transaction=False)
    for session in sessions:
        key = session_key(session.name, session.tenant)
        for name in (*key.turn(0).all_keys(), *key.turn(1).all_keys()[3:], key.numbering):
            pipe.dump(name)
    return pipe.execute()


STEPS = st.lists(
    st.tuples(st.integers(0, 100), st.sampled_from(OF_SESSIONS), st.sampled_from(sorted({s.name for s in SESSIONS}))),
    min_size=1, max_size=8,
)  # fmt: skip


@given(steps=STEPS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nobody_changes_what_they_cannot_open(
    http: httpx.Client, everybody: list[Caller], store: redis.Redis, steps: list[tuple[int, Operation, str]]
):
    store.flushall()
    plant(http)
    for number, operation, name in steps:
        caller = everybody[number % len(everybody)]
        session = named(caller.tenant, name)
        closed = [each for each in SESSIONS if not caller.opens(each)]
        before = fingerprints(store, closed)
        status, body = ask(http, operation, name, caller.headers)
        where = (caller.name, operation.name, name, status, body)
        assert fingerprints(store, closed) == before, where
        assert not [each.text for each in closed if each.text.encode() in body], where
        if not may(caller, operation):
            assert status == 403, where
        elif session and not caller.opens(session) and store.exists(session_key(name, caller.tenant).record):
            assert status == 404, where
        assert status < 500, where
