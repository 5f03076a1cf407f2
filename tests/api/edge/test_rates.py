"""The bucket of a tenant in one process, and what the header fields say of it."""

import pytest

from turnwire.api.edge.rates import MOST_BUCKETS, Rates, rate_fields
from turnwire.shared.errors import RateLimited
from turnwire.shared.limits import KeyAllowance, Limits


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def limits(requests_per_s: float | None, key: KeyAllowance | None = None) -> Limits:
    return Limits(requests_per_s=requests_per_s, max_signals=1, max_body_bytes=1, key=key)


def test_a_tenant_sends_a_burst_and_then_so_many_a_second():
    clock = Clock()
    rates = Rates(clock)
    assert [rates.take("acme", limits(2))[0].left for _ in range(4)] == [3, 2, 1, 0]
    with pytest.raises(RateLimited) as refused:
        rates.take("acme", limits(2))
    assert refused.value.retry_after_s == pytest.approx(0.5, abs=0.01)
    clock.now_s += 0.5
    rates.take("acme", limits(2))
    with pytest.raises(RateLimited):
        rates.take("acme", limits(2))
    clock.now_s += 100
    assert [rates.take("acme", limits(2))[0].left for _ in range(4)] == [3, 2, 1, 0]


def test_tenants_do_not_share_a_bucket_and_some_have_none():
    rates = Rates(Clock())
    rates.take("acme", limits(0.1))
    assert len(rates.take("other", limits(0.1))) == 1
    assert [rates.take("free", limits(None)) for _ in range(100)] == [()] * 100


def test_a_key_has_a_bucket_besides_that_of_its_tenant():
    rates = Rates(Clock())
    both = [limits(1, KeyAllowance(holder=f"acme/{name}", requests_per_s=0.5)) for name in ("one", "two")]
    assert [rate.left for rate in rates.take("acme", both[0])] == [1, 0]
    with pytest.raises(RateLimited) as refused:
        rates.take("acme", both[0])
    assert (refused.value.holder, refused.value.burst, refused.value.window_s) == ("key", 1, 2)
    assert [rate.left for rate in rates.take("acme", both[1])] == [0, 0], "the refused request is not counted"
    with pytest.raises(RateLimited) as refused:
        rates.take("acme", limits(1))
    assert refused.value.holder == "tenant"


def test_the_fields_name_the_policy_and_what_is_left():
    [taken] = Rates(Clock()).take("acme", limits(5))
    assert dict(rate_fields([taken])) == {
        b"ratelimit-policy": b'"requests";q=10;w=2',
        b"ratelimit": b'"requests";r=9;t=1',
    }
    assert dict(rate_fields([taken.at_most(3)]))[b"ratelimit"] == b'"requests";r=3;t=1'
    assert taken.at_most(30) == taken
    both = Rates(Clock()).take("acme", limits(5, KeyAllowance(holder="acme/one", requests_per_s=1)))
    assert dict(rate_fields(both))[b"ratelimit"] == b'"requests";r=9;t=1, "key-requests";r=1;t=1'


def test_full_buckets_are_not_kept_for_ever():
    clock = Clock()
    rates = Rates(clock)
    for number in range(MOST_BUCKETS):
        rates.take(f"t{number}", limits(1))
    clock.now_s += 10
    rates.take("one more", limits(1))
    assert len(rates._full_at_s) == 1
