"""`Stack`, as tests and benchmarks use it, with stand-ins for the API and the worker."""

import os

import pytest

from stack.cluster import Stack, bare_environment
from stack.process import ProcessError, answers
from stack.redis_server import RedisServer
from tests.stack import standins
from tests.stack.watching import is_gone


@pytest.fixture
def home(tmp_path, monkeypatch):
    standins.write(tmp_path)
    monkeypatch.setattr("stack.cluster.ROOT", tmp_path)
    return tmp_path


def redis_over_tcp(home):
    return RedisServer(home / "redis", port=0)


def test_many_apis_and_workers_run_and_all_are_gone_afterwards(home):
    with redis_over_tcp(home) as redis:
        with Stack(home / "logs", workers=2, apis=2, redis=redis) as stack:
            assert len(set(stack.base_urls)) == 2
            assert all(answers(f"{url}/readyz") for url in stack.base_urls)
            added = stack.add_worker()
            pids = [service.pid for service in stack.services]
            assert added.pid in pids
            assert len(set(pids)) == 5
        assert all(is_gone(pid) for pid in pids)
        assert redis.service.running, "the stack must not stop a server that was passed in"
    order = (home / "order").read_text().split("\n")
    assert order[:5] == ["api stopped"] * 2 + ["worker stopped"] * 3


def test_an_api_that_was_killed_comes_back_at_the_same_address(home):
    with redis_over_tcp(home) as redis, Stack(home / "logs", redis=redis) as stack:
        stack.worker[0].kill()
        stack.worker[0].start()
        stack.wait_worker(0)
        stack.api[0].kill()
        assert not answers(f"{stack.base_urls[0]}/readyz")
        stack.api[0].start()
        stack.wait_api(0)


def test_without_a_server_the_stack_starts_its_own_and_stops_it(home):
    stack = Stack(home / "logs", workers=1, apis=0)
    with stack:
        assert stack.redis is not None
        pid = stack.redis.pid
        assert stack.worker[0].env["TURNWIRE_REDIS_URL"] == stack.redis.url
        stack.worker[0].kill()  # it could not end properly, because it reaches Redis over TCP only
    assert is_gone(pid)


def test_if_a_child_cannot_start_all_others_are_stopped(home):
    (home / "worker.py").write_text("raise SystemExit('TURNWIRE_HOOKS: no such module')")
    stack = Stack(home / "logs")
    with pytest.raises(ProcessError, match="worker0 ended with code 1:\nTURNWIRE_HOOKS: no such module"):
        stack.start()
    assert stack.redis is not None
    assert not any(service.running for service in [*stack.services, stack.redis.service])


def test_settings_of_the_caller_do_not_leak_into_the_children(monkeypatch):
    monkeypatch.setenv("TURNWIRE_LEASE_MS", "1")
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    assert not {"TURNWIRE_LEASE_MS", "PORT", "PYTHONSAFEPATH"} & bare_environment().keys()
    assert bare_environment()["PATH"] == os.environ["PATH"]
