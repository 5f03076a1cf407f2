"""Counts what only the worker knows of a ledger row: an attempt's usage, its cost, and the time to its first event."""

import time
from collections.abc import Iterable
from typing import Final

from turnwire.shared.events import PART_UPDATED, RESULT
from turnwire.shared.ledger import encode_use, usage_of
from turnwire.shared.model import ModelCall
from turnwire.shared.usage import Usage
from turnwire.worker.turn.accumulator import text_of
from turnwire.worker.turn.counted_use import count_use
from turnwire.worker.turn.prices import Prices

_MAY_BE_TEXT: Final = (f'{{"type":"{PART_UPDATED}"'.encode(), f'{{"type":"{RESULT}"'.encode())


class Meter:
    """Counts for one attempt. `rows`: the ledger rows of the earlier attempts of its turn, as JSON.

    `attempt` is the usage of this attempt. `turn` is that and the known usage of the earlier attempts together.
    """

    def __init__(self, prices: Prices, rows: Iterable[bytes] = ()) -> None:
        self._prices = prices
        self._earlier = usage_of(rows)
        self._begin()

    def _begin(self) -> None:
        self.attempt = Usage(currency=self._prices.currency, price_version=self._prices.version)
        self._began_s = time.monotonic()
        self._first_event_ms: int | None = None
        self._first_token_ms: int | None = None

    def add(self, call: ModelCall) -> None:
        """Count one call of a model."""
        used = self._prices.used_by(call)
        count_use(used, self._prices.named)
        self.attempt.add(used)

    def saw(self, event: bytes) -> None:
        """Note that an event of the producer is about to be appended."""
        if self._first_token_ms is not None:
            return
        now_ms = int((time.monotonic() - self._began_s) * 1000)
        if self._first_event_ms is None:
            self._first_event_ms = now_ms
        if event.startswith(_MAY_BE_TEXT) and text_of([event]):
            self._first_token_ms = now_ms

    def go_on(self) -> None:
        """Begin to count for the next attempt of the turn, because the same worker runs it."""
        self._earlier.add(self.attempt)
        self._begin()

    @property
    def turn(self) -> Usage:
        """The known usage of the whole turn."""
        if not self._earlier.model_calls:
            return self.attempt
        used = Usage(currency=self.attempt.currency, price_version=self.attempt.price_version)
        used.add(self._earlier)
        used.add(self.attempt)
        return used

    @property
    def finish_reason(self) -> str | None:
        """Why the answer of the turn's last model call ended, in the server's own word; None if it gave no reason."""
        return self.turn.finish_reason

    @property
    def model_calls(self) -> int:
        """How many calls of a model were counted in the turn."""
        return self.turn.model_calls

    @property
    def tokens_in(self) -> int | None:
        """The tokens of all prompts of the turn; None if those of a call are not known."""
        return self.turn.tokens_in

    @property
    def tokens_out(self) -> int | None:
        """The tokens of all answers of the turn; None if those of a call are not known."""
        return self.turn.tokens_out

    @property
    def cost_nanos(self) -> int | None:
        """What the turn has cost, in billionths of `currency`; None if the cost of a call is not known."""
        return self.turn.cost_nanos

    @property
    def currency(self) -> str | None:
        """Three capital letters; None without a price."""
        return self.turn.currency

    @property
    def row(self) -> bytes:
        """The part of the ledger row that only the worker knows, encoded for the script that ends the attempt."""
        return encode_use(self.attempt, first_event_ms=self._first_event_ms, first_token_ms=self._first_token_ms)
