"""Few tenants have names in the metrics, and they keep them."""

from tests.support.clock import Clock
from turnwire.api.tenant_names import IDLE_S, TenantNames


def test_the_tenants_with_the_most_get_the_names():
    names = TenantNames(2)
    assert names.named({"a": 1, "b": 9, "c": 5}) == {"a": "other", "b": "b", "c": "c"}


def test_a_tenant_keeps_its_name_until_it_has_had_nothing_for_an_hour():
    clock = Clock()
    names = TenantNames(1, clock)
    assert names.named({"a": 1}) == {"a": "a"}
    clock.now_s += IDLE_S - 1
    assert names.named({"a": 1, "b": 1000}) == {"a": "a", "b": "other"}
    clock.now_s += IDLE_S - 1
    assert names.named({"b": 1000}) == {"b": "other"}
    clock.now_s += 1
    assert names.named({"b": 1000}) == {"b": "b"}


def test_with_none_allowed_nobody_has_a_name():
    assert TenantNames(0).named({"a": 1}) == {"a": "other"}
