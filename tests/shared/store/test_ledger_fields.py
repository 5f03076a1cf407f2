"""Every script that writes a ledger row writes exactly the fields of LedgerRow."""

import json

import pytest

from tests.support.turns import KEY, request, submit_and_claim, take_over
from turnwire.shared.events import RUN_COMPLETED, RUN_FAILED, encode_event
from turnwire.shared.ledger import LedgerRow, encode_progress, encode_use
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.usage import Usage

COMPLETED = encode_event(RUN_COMPLETED, {})
FAILED = encode_event(RUN_FAILED, {})
FAILURE = {"error_code": "oops", "error_message": "no", "retryable": 0}
SUSPENDED = b'{"type":"session.run.suspended","data":{}}'
USED = encode_use(Usage(1, 5, 7, 900, "USD", "v1", "m"), first_event_ms=3, first_token_ms=4)


async def settled(store) -> None:
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {}, USED)


async def suspended(store) -> None:
    await store.suspend(await submit_and_claim(store), "approval", None, 1, SUSPENDED, USED)


async def handed_over(store) -> None:
    await store.handover(await submit_and_claim(store), USED)


async def rewound(store) -> None:
    claimed = await submit_and_claim(store)
    await store.rewind(claimed, "1-0", USED)


async def crashed(store) -> None:
    await submit_and_claim(store)
    await take_over(store)


async def cancelled(store) -> None:
    await store.submit(KEY, request())
    await store.cancel(KEY)


async def withdrawn(store) -> None:
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.FAILED, 1, [FAILED], FAILURE, USED)
    await store.withdraw(await store.submit(KEY, request()), [FAILED])


@pytest.mark.parametrize("end", [settled, suspended, handed_over, rewound, crashed, cancelled, withdrawn])
async def test_every_script_that_writes_a_row_writes_the_fields_of_the_struct(store, redis, end):
    await end(store)
    rows = await redis.hvals(KEY.ledger)
    assert rows
    for row in rows:
        assert tuple(json.loads(row)) == LedgerRow.__struct_fields__


async def test_what_a_worker_says_of_a_row_are_fields_of_it():
    told = json.loads(encode_use(Usage(1, 2, 3, 4, "USD", "v1", "m"), first_event_ms=5, first_token_ms=6))
    known = json.loads(encode_progress(1, Usage(1, 2, 3, 4, "USD", "v1", "m")))
    assert {*told, *known} <= set(LedgerRow.__struct_fields__)
    assert all(isinstance(value, str) for value in [*told.values(), *known.values()])


async def test_nothing_said_is_nothing_known(store):
    claimed = await submit_and_claim(store)
    await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {})
    [row] = await store.ledger(KEY)
    assert (row.partial, row.model_calls, row.cost_nanos) == (True, None, None)
