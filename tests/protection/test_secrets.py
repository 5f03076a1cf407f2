"""Secrets are in no log and in no answer, whatever fails."""

from pathlib import Path

import httpx
import pytest
import redis

from stack.cluster import Stack, bare_environment
from stack.redis_server import RedisServer
from tests.support.ending import ended
from tests.support.every_operation import ask_all

SECRET = "hunter2-f1e2d3c4b5"
REFUSED = [
    ("worker", {"TURNWIRE_HOOKS": "tests.protection.leaky:hooks", "PROTECTION_FAILS_AT_IMPORT": "1"}),
    ("worker", {"TURNWIRE_REDIS_URL": f"redis://app:{SECRET}@host:port/0"}),
    ("worker", {"TURNWIRE_REDIS_URL": f"rediss://app:{SECRET}@host:1/0?foo=bar"}),
    ("worker", {"TURNWIRE_CODEC": f"no_such_module:{SECRET[:0]}codec", "TURNWIRE_LLM_API_KEY": SECRET}),
    ("api", {"TURNWIRE_REDIS_URL": f"redis:/:{SECRET}@host:1/0"}),
    ("api", {"TURNWIRE_REDIS_URL": f"redis://host:1/zero?password={SECRET}"}),
    ("api", {"TURNWIRE_LLM_API_KEY_": SECRET}),
    ("api", {"TURNWIRE_QUEUE_REDIS_URL": f"redis+sentinel://app:{SECRET}@host/"}),
]


@pytest.mark.parametrize(("module", "env"), REFUSED)
def test_a_process_that_cannot_start_says_no_secret(module: str, env: dict[str, str], tmp_path: Path):
    env = bare_environment() | {"PROTECTION_SECRET": SECRET} | env
    status, said = ended(module, env, tmp_path)
    assert status == 2, said
    assert "TURNWIRE_" in said
    assert SECRET not in said


def test_no_secret_is_in_a_log_or_an_answer_when_everything_fails(tmp_path: Path):
    with RedisServer(tmp_path / "redis") as server:
        with redis.Redis.from_url(server.url) as admin:
            admin.execute_command("ACL", "SETUSER", "app", "on", f">{SECRET}", "~*", "&*", "+@all")
        env = {
            "TURNWIRE_HOOKS": "tests.protection.leaky:hooks",
            "TURNWIRE_LOG_LEVEL": "debug",
            "TURNWIRE_LLM_API_KEY": SECRET,
            "PROTECTION_SECRET": SECRET,
        }
        stack = Stack(tmp_path, workers=1, apis=1, env=env, redis=server)
        answers = []
        url_before = server.url
        for service in stack.services:
            service.env["TURNWIRE_REDIS_URL"] = url_before
        with stack, httpx.Client(base_url=stack.base_urls[0], timeout=25, trust_env=False) as http:
            headers = {"Authorization": f"Bearer {SECRET}", "x-api-key": SECRET}
            for index, message in enumerate(["fail", "end"]):
                path = f"/v1/sessions/s/turns/{index}"
                answers.append(http.post(path, json={"message": message}, headers=headers))
                answers.append(http.get(f"{path}?token={SECRET}", headers=headers))
                answers.append(http.get(f"{path}/events?token={SECRET}&after={SECRET}", headers=headers))
            answers.append(http.post("/v1/sessions/s/turns", content=SECRET, headers=headers))
            answers.append(http.get(f"/{SECRET}", headers=headers))
            assert {answer.status_code for answer in answers} >= {200, 400, 404}
            body = f'{{"message": 7, "{SECRET}": "{SECRET}"}}'.encode()
            told = [ask_all(http, "s", headers=headers, content=body, params={"token": SECRET})]
            server.stop()  # what they say then has the URL with the password at hand
            assert http.get("/v1/sessions/s/turns/0", headers=headers).status_code == 503
            told.append(ask_all(http, "s", headers=headers))
        statuses = [{answer[:3] for answer in each.values()} for each in told]
        assert statuses[0] >= {"200", "422"}
        assert statuses[1] >= {"200", "503"}
        logs = "".join(service.log() for service in stack.services)
        assert "RuntimeError" in logs
        assert "an exception was not caught" in logs
        assert SECRET not in logs
        assert SECRET not in "".join(answer.text for answer in answers)
        assert [name for each in told for name, answer in each.items() if SECRET in answer] == []
