import subprocess
import sys

import pytest

from stack.cluster import ROOT

HEAVY = {"cryptography.x509", "jwt", "rich", "pygments"}


def printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("process", ["api", "worker"])
def test_a_process_loads_no_part_of_a_library_that_it_does_not_use(process):
    loaded = printed(f"import sys, turnwire.{process}.__main__, httpx; print(*sys.modules)")
    assert HEAVY & set(loaded.split()) == set()
    assert {"redis.auth.token", "httpx"} < set(loaded.split())


def test_a_worker_loads_httpx_only_for_callbacks_and_model_servers():
    loaded = printed("import sys, turnwire.worker.__main__; print(*sys.modules)")
    assert not {"httpx", "standardwebhooks"} & set(loaded.split())


def test_redis_py_still_reads_tokens_and_httpx_still_has_a_main():
    code = """
import sys, turnwire.worker, redis.auth.token, httpx, jwt
print(redis.auth.token.jwt.decode is jwt.decode, sys.modules["jwt"] is jwt, callable(httpx.main))
"""
    assert printed(code) == "True True True"


def test_what_is_imported_already_stays():
    code = """
import sys, jwt, httpx
import turnwire.worker, redis.auth.token
print(redis.auth.token.jwt is jwt, "httpx._main" in sys.modules)
"""
    assert printed(code) == "True True"
