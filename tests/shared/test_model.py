"""Usage is known or unknown, never an invented zero."""

import pytest

from turnwire.shared.model import ModelCall
from turnwire.shared.usage import Usage
from turnwire.worker.turn.prices import Prices


def usage_of(*calls: ModelCall) -> Usage:
    usage = Usage()
    for call in calls:
        usage.add(Prices().used_by(call))
    return usage


def test_c96_who_made_no_call_used_nothing():
    assert usage_of() == Usage(0, 0, 0, 0)


def test_c42_known_calls_add_up():
    assert usage_of(ModelCall("m", 1, 2), ModelCall("m", 10, 20)) == Usage(
        2, 11, 22, None, model_called="m", cached_tokens=None, reasoning_tokens=None
    )


def test_c96_a_reported_zero_is_a_zero():
    assert usage_of(ModelCall("m", 0, 0)) == Usage(
        1, 0, 0, None, model_called="m", cached_tokens=None, reasoning_tokens=None
    )


@pytest.mark.parametrize("order", [1, -1])
def test_c96_a_sum_with_an_unknown_part_is_unknown_but_the_call_counts(order):
    calls = [ModelCall("m", 5, None), ModelCall("m", 3, 4)][::order]
    used = usage_of(*calls)
    assert used == Usage(2, 8, None, None, None, None, "m", None, None)
    assert used.fields() == {"model_calls": "2", "tokens_in": "8", "model_called": "m"}


def test_several_models_are_not_one():
    assert usage_of(ModelCall("a", 1, 1), ModelCall("b", 1, 1), ModelCall("b", 1, 1)).model_called is None


def test_costs_in_two_currencies_have_no_sum():
    used = Usage(1, 1, 1, 10, "USD", "1", "m")
    used.add(Usage(1, 1, 1, 10, "EUR", "1", "m"))
    assert used == Usage(2, 2, 2, None, None, "1", "m")


def test_costs_of_two_versions_of_a_table_do():
    used = Usage(1, 1, 1, 10, "USD", "1", "m")
    used.add(Usage(1, 1, 1, 10, "USD", "2", "m"))
    assert used == Usage(2, 2, 2, 20, "USD", None, "m")
