from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnwire.shared.errors import SettingsError
from turnwire.worker.backends.retry import RetryPolicy, retry_after_ms

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
dice = st.floats(0, 1, exclude_max=True)


@given(dice)
def test_c34_delay_bounds_of_the_default_policy(random):
    for attempt, (middle_ms, spread_ms) in enumerate([(1000, 250), (2000, 500), (4000, 1000), (8000, 2000)], start=1):
        assert abs(RetryPolicy().delay_ms(attempt, None, random) - middle_ms) <= spread_ms


def test_c34_the_whole_range_is_used():
    policy = RetryPolicy()
    assert policy.delay_ms(1, None, 0.0) == 750
    assert policy.delay_ms(1, None, 0.5) == 1000
    assert policy.delay_ms(1, None, 0.999999) == 1250
    assert policy.delay_ms(60, None, 0.5) == 30_000


@given(st.integers(1, 100), st.integers(0, 10**12), dice)
def test_retry_after_is_a_minimum_and_capped(attempt, asked_ms, random):
    policy = RetryPolicy(max_attempts=100)
    delay_ms = policy.delay_ms(attempt, asked_ms, random)
    assert delay_ms >= min(asked_ms, policy.retry_after_cap_ms)
    assert delay_ms <= max(policy.retry_after_cap_ms, policy.max_backoff_ms) + 0.25 * policy.max_backoff_ms


@pytest.mark.parametrize(
    ("headers", "expected_ms"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2000),
        ({"retry-after": " 0 "}, 0),
        ({"retry-after": "0.25"}, 250),
        ({"retry-after": "1", "retry-after-ms": "1500"}, 1500),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "9" * 400}, 86_400_000),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=7), usegmt=True)}, 7000),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=7), usegmt=True)}, 0),
        ({"retry-after": "Wed, 02 Jan 2030 03:04:12 -0000"}, 7000),
        (
            {
                "retry-after": format_datetime(NOW + timedelta(hours=1, seconds=3), usegmt=True),
                "date": format_datetime(NOW + timedelta(hours=1), usegmt=True),
            },
            3000,
        ),
    ],
)
def test_retry_after_forms(headers, expected_ms):
    assert retry_after_ms(headers, NOW) == expected_ms


@example("0\x1f", "")
@given(st.text(), st.text())
def test_no_header_value_raises(asked, date):
    found = retry_after_ms({"retry-after": asked, "date": date}, NOW)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", True),
        ("max_attempts", 2.0),
        ("initial_backoff_ms", -1),
        ("max_backoff_ms", 10),
        ("jitter", 1.5),
        ("jitter", float("nan")),
        ("retry_statuses", frozenset({200})),
        ("request_timeout_ms", -1),
        ("idle_timeout_ms", 10**12),
        ("retry_after_cap_ms", None),
    ],
)
def test_a_bad_parameter_is_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=name):
        RetryPolicy(**{name: value})
