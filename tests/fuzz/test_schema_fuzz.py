"""Requests that Schemathesis makes from /openapi.json, with credentials of each kind: `python3 dev.py fuzz`."""

import pytest

from stack.fuzz import main


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_request_is_answered_with_a_server_error(capfd: pytest.CaptureFixture[str]):
    assert main(["--requests", "5000", "--seed", "7"]) == 0, capfd.readouterr().out
