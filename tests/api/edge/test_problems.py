"""Every error of ours has its status, once."""

from collections.abc import Iterator

import msgspec
import pytest

from turnwire.api.access import errors as access_errors
from turnwire.api.edge import problems
from turnwire.api.edge.problems import STATUS, Draining, MethodNotAllowed, problem, problem_response
from turnwire.shared import errors
from turnwire.shared.errors import AttemptFenced, AttemptStopped, SettingsError, TurnFailure, TurnwireError

# They end a turn, an attempt or the process.
NEVER_ANSWERED = (TurnFailure, AttemptFenced, AttemptStopped, SettingsError)


def kinds() -> Iterator[type[TurnwireError]]:
    for module in (errors, access_errors, problems):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, TurnwireError) and value is not TurnwireError:
                yield value


@pytest.mark.parametrize("kind", sorted({kind for kind in kinds() if not issubclass(kind, NEVER_ANSWERED)}, key=str))
def test_each_class_has_a_client_or_outage_status(kind: type[TurnwireError]):
    status, title = next(STATUS[base] for base in kind.__mro__ if base in STATUS)
    assert 400 <= status < 500 or status == 503
    assert title


def test_codes_are_unique():
    codes = [kind.code for kind in STATUS]
    assert len(set(codes)) == len(codes)


def test_the_document_says_what_the_error_says():
    response = problem_response(errors.QueueFull("too many turns wait"))
    assert response.status_code == 429
    assert response.headers["retry-after"] == "5"
    assert response.headers["content-type"] == "application/problem+json"
    assert msgspec.json.decode(response.body) == {
        "type": "urn:turnwire:problem:queue_full",
        "title": "Too many turns are waiting",
        "status": 429,
        "detail": "too many turns wait",
        "code": "queue_full",
        "retryable": True,
    }


def test_what_a_client_may_try_again_says_when():
    for kind in STATUS:
        error = errors.RateLimited(20) if kind is errors.RateLimited else kind("x")
        assert ("retry-after" in problem_response(error).headers) == kind.retryable


def test_a_wrong_method_names_the_right_ones():
    assert problem_response(MethodNotAllowed("GET, POST")).headers["allow"] == "GET, POST"


def test_an_error_that_is_not_for_clients_says_nothing():
    document = problem(TurnFailure("secret"))
    assert (document.status, document.code) == (500, "internal")
    assert "secret" not in document.detail


def test_a_subclass_has_the_status_of_its_base():
    class Narrower(Draining):
        pass

    assert problem(Narrower("x")).status == 503
