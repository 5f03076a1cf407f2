"""Usage is known or unknown, never an invented zero."""

import pytest

from shared.model import ModelCall, Usage


def usage_of(*calls: ModelCall) -> Usage:
    usage = Usage()
    for call in calls:
        usage.add(call)
    return usage


def test_c96_no_call_used_nothing_that_is_known():
    assert usage_of() == Usage(0, None, None)
    assert usage_of().fields() == {"model_calls": "0"}


def test_c42_known_calls_add_up():
    assert usage_of(ModelCall("m", 1, 2), ModelCall("m", 10, 20)) == Usage(2, 11, 22)


def test_c96_a_reported_zero_is_a_zero():
    assert usage_of(ModelCall("m", 0, 0)) == Usage(1, 0, 0)


@pytest.mark.parametrize("order", [1, -1])
def test_c96_a_sum_with_an_unknown_part_is_unknown_but_the_call_counts(order):
    calls = [ModelCall("m", 5, None), ModelCall("m", 3, 4)][::order]
    assert usage_of(*calls) == Usage(2, 8, None)
    assert usage_of(*calls).fields() == {"model_calls": "2", "tokens_in": "8"}


def test_what_an_earlier_attempt_used_is_restored_in_place():
    usage = Usage()
    usage.restore(None)
    assert usage == Usage()
    usage.restore(Usage(2, 3, None))
    usage.add(ModelCall("m", 1, 1))
    assert usage == Usage(3, 4, None)
