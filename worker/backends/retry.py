"""Decides when to ask a model server again, and how long to wait. It has no clock, no random numbers and no I/O."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from turnwire.shared.errors import SettingsError

RETRY_STATUSES: Final = frozenset({408, 409, 425, 429, *range(500, 600)})
_LONGEST_MS: Final = 24 * 3600 * 1000
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?")


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often a model server is asked, and how long it may take. All times are in milliseconds.

    `max_attempts` counts the requests, with the first one. The wait after the first request is `initial_backoff_ms`. It
    doubles with each further request, up to `max_backoff_ms`, and varies by the share `jitter` in both directions. A
    `Retry-After` makes it longer; if it asks for more than `retry_after_cap_ms`, the call is given up at once.

    `request_timeout_ms` limits each request up to the response headers. `first_token_timeout_ms` limits each silence
    between the headers and the first piece of the answer, while the model reads the prompt and thinks; None: the same
    as `request_timeout_ms`. `idle_timeout_ms` limits each silence after that. 0: no limit.

    Raises:
        SettingsError: a value does not fit. The message names it.
    """

    max_attempts: int = 5
    initial_backoff_ms: int = 1_000
    max_backoff_ms: int = 30_000
    jitter: float = 0.25
    retry_statuses: frozenset[int] = RETRY_STATUSES
    request_timeout_ms: int = 120_000
    first_token_timeout_ms: int | None = None
    idle_timeout_ms: int = 60_000
    retry_after_cap_ms: int = 60_000

    def __post_init__(self) -> None:
        _whole("max_attempts", self.max_attempts, 1, 100)
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name.endswith("_ms") and not (name == "first_token_timeout_ms" and value is None):
                _whole(name, value, 0, _LONGEST_MS)
        if self.max_backoff_ms < self.initial_backoff_ms:
            raise SettingsError("max_backoff_ms must not be less than initial_backoff_ms")
        # Written as `not (0 <= x <= 1)`, because NaN must fail, too.
        if isinstance(self.jitter, bool) or not (0 <= self.jitter <= 1):
            raise SettingsError(f"jitter must be a number from 0 to 1, not {self.jitter!r}")
        for status in self.retry_statuses:
            _whole("each of retry_statuses", status, 400, 599)

    def silence_ms(self, began: bool) -> int:
        """Return the longest silence inside a response, in ms, before or after its first piece of the answer."""
        if began:
            return self.idle_timeout_ms
        return self.request_timeout_ms if self.first_token_timeout_ms is None else self.first_token_timeout_ms

    def delay_ms(self, attempt: int, retry_after_ms: int | None, random: float) -> int:
        """Return how long to wait after the failed request number `attempt` (1 is the first), in ms.

        `random` is a number in [0, 1); 0.5 gives the wait without jitter. `retry_after_ms` is a minimum. Jitter is only
        added to it, so that callers which were told the same time do not all come back at once.
        """
        base_ms = min(self.initial_backoff_ms << (attempt - 1), self.max_backoff_ms)
        wait_ms = base_ms * (1 + self.jitter * (2 * random - 1))
        if retry_after_ms is not None:
            asked_ms = min(retry_after_ms, self.retry_after_cap_ms)
            wait_ms = max(wait_ms, asked_ms + base_ms * self.jitter * random)
        return max(0, round(wait_ms))


def may_pass(status: int) -> bool:
    """Whether a server that answered with this status may answer differently a little later."""
    return not 400 <= status < 500 or status in RETRY_STATUSES


def retry_after_ms(headers: Mapping[str, str], now: datetime) -> int | None:
    """Return the wait that response headers ask for, in ms; None if they ask for none, or cannot be understood.

    Understood are `retry-after-ms` and both forms of `Retry-After`: seconds, and an HTTP date. A date is compared with
    the response's own `Date`, if it has one, because the server's clock may differ from ours (`now`, with time zone).
    `headers` must find lower-case names.
    """
    exact = _milliseconds(headers.get("retry-after-ms", ""), 1)
    if exact is not None:
        return exact
    asked = headers.get("retry-after", "")
    seconds = _milliseconds(asked, 1000)
    if seconds is not None:
        return seconds
    until = _http_date(asked)
    if until is None:
        return None
    server_now = _http_date(headers.get("date", "")) or now
    return max(0, math.ceil((until - server_now).total_seconds() * 1000))


def _milliseconds(text: str, unit_ms: int) -> int | None:
    number = text.strip()  # it removes kinds of white space that float() refuses
    if not _NUMBER.fullmatch(number):
        return None
    return math.ceil(min(float(number) * unit_ms, _LONGEST_MS))


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
