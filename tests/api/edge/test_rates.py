"""The bucket of a tenant in one process, and what the header fields say of it."""

import pytest

from turnwire.api.edge.rates import MOST_BUCKETS, Rates
from turnwire.shared.errors import RateLimited
from turnwire.shared.limits import Limits


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def limits(requests_per_s: float | None) -> Limits:
    return Limits(requests_per_s=requests_per_s, max_signals=1, max_body_bytes=1)


def test_a_tenant_sends_a_burst_and_then_so_many_a_second():
    clock = Clock()
    rates = Rates(clock)
    assert [taken.left for _ in range(4) if (taken := rates.take("acme", limits(2)))] == [3, 2, 1, 0]
    with pytest.raises(RateLimited) as refused:
        rates.take("acme", limits(2))
    assert refused.value.retry_after_s == pytest.approx(0.5, abs=0.01)
    clock.now_s += 0.5
    rates.take("acme", limits(2))
    with pytest.raises(RateLimited):
        rates.take("acme", limits(2))
    clock.now_s += 100
    assert [taken.left for _ in range(4) if (taken := rates.take("acme", limits(2)))] == [3, 2, 1, 0]


def test_tenants_do_not_share_a_bucket_and_some_have_none():
    rates = Rates(Clock())
    rates.take("acme", limits(0.1))
    assert rates.take("other", limits(0.1)) is not None
    assert [rates.take("free", limits(None)) for _ in range(100)] == [None] * 100


def test_the_fields_name_the_policy_and_what_is_left():
    taken = Rates(Clock()).take("acme", limits(5))
    assert taken is not None
    assert dict(taken.headers()) == {
        b"ratelimit-policy": b'"requests";q=10;w=2',
        b"ratelimit": b'"requests";r=9;t=1',
    }
    assert dict(taken.at_most(3).headers())[b"ratelimit"] == b'"requests";r=3;t=1'
    assert taken.at_most(30) == taken


def test_full_buckets_are_not_kept_for_ever():
    clock = Clock()
    rates = Rates(clock)
    for number in range(MOST_BUCKETS):
        rates.take(f"t{number}", limits(1))
    clock.now_s += 10
    rates.take("one more", limits(1))
    assert len(rates._full_at_s) == 1
