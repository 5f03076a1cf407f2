"""The session of somebody else takes no other time to answer than one that does not exist."""

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import httpx
import pytest

from tests.access.world import ASYNC, plant
from turnwire.api.endpoints.operation import Operation
from turnwire.api.endpoints.routes import OPERATIONS

PAIRS = 150
TOLERATED = 0.2  # with 150 pairs, chance alone goes so far once in a million times


def slower_share(pairs: Sequence[tuple[float, float]]) -> float:
    """In which share of the pairs the first one took longer. Noise of the machine meets both alike."""
    return sum(first > second for first, second in pairs) / len(pairs)


def took(ask: Callable[[], object]) -> float:
    started = time.perf_counter()
    ask()
    return time.perf_counter() - started


@pytest.mark.parametrize(
    ("key", "foreign"),
    [("tw_other", "of-bob"), ("tw_backend", "of-eve"), ("tw_bob", "of-ada"), ("tw_bob", "of-nobody")],
)
def test_a_foreign_session_takes_as_long_as_a_missing_one(http: httpx.Client, key: str, foreign: str):
    plant(http)
    chance = random.Random(7)

    def ask(name: str) -> float:
        path = f"/v1/sessions/{name}/turns/0"
        return took(lambda: http.get(path, headers={"x-api-key": key}).status_code == 404 or pytest.fail(name))

    pairs = []
    for number in range(PAIRS):
        missing = f"no-{number:04}"[: len(foreign)]
        if chance.random() < 0.5:
            first = ask(foreign)
            pairs.append((first, ask(missing)))
        else:
            second = ask(missing)
            pairs.append((ask(foreign), second))
    assert abs(slower_share(pairs) - 0.5) < TOLERATED


FEW = 60  # pairs
LOOSE = 0.35  # with 60 pairs, chance alone goes so far once in ten million times
COMPARED = [each for each in OPERATIONS if each.is_of_session and not each.begins_session]


@pytest.mark.parametrize("operation", COMPARED, ids=lambda operation: operation.name)
def test_every_operation_takes_as_long_for_a_foreign_session(http: httpx.Client, operation: Operation):
    plant(http)
    body: dict[str, Any] = {"json": {}} if operation.method == "POST" else {}

    def ask(name: str) -> float:
        path = operation.path.format(session=name, index=0, key="approval")
        headers = {"x-api-key": "tw_bob"}
        asked = partial(http.request, operation.method, path, headers=headers, **body)
        return took(lambda: asked().status_code == 404 or pytest.fail(name))

    pairs = []
    for number in range(FEW):
        missing = f"no-{number:03}"
        if number % 2:
            first = ask("of-ada")
            pairs.append((first, ask(missing)))
        else:
            second = ask(missing)
            pairs.append((ask("of-ada"), second))
    assert abs(slower_share(pairs) - 0.5) < LOOSE


BEGINNING = [each for each in OPERATIONS if each.begins_session]


def paired(foreign: Callable[[int], float], missing: Callable[[int], float]) -> list[tuple[float, float]]:
    """Take both times for each number, in turns first the one and first the other."""
    pairs = []
    for number in range(FEW):
        if number % 2:
            first = foreign(number)
            pairs.append((first, missing(number)))
        else:
            second = missing(number)
            pairs.append((foreign(number), second))
    return pairs


def posted(http: httpx.Client, operation: Operation, headers: dict[str, str], status: int, name: str) -> float:
    path = operation.path.format(session=name, index=0)
    asked = partial(http.post, path, headers={**headers, **ASYNC}, json={"message": "hi"})
    return took(lambda: asked().status_code == status or pytest.fail(name))


@pytest.mark.parametrize("operation", BEGINNING, ids=lambda operation: operation.name)
def test_a_session_begins_as_quickly_if_another_tenant_has_one_of_its_name(http: httpx.Client, operation: Operation):
    for number in range(FEW):
        posted(http, BEGINNING[0], {"x-api-key": "tw_backend"}, 202, f"theirs-{operation.name}-{number:02}")
    ask = partial(posted, http, operation, {"x-api-key": "tw_other"}, 202)
    pairs = paired(
        lambda number: ask(f"theirs-{operation.name}-{number:02}"),
        lambda number: ask(f"no-one-{operation.name}-{number:02}"),
    )
    assert abs(slower_share(pairs) - 0.5) < LOOSE


@pytest.mark.parametrize("operation", BEGINNING, ids=lambda operation: operation.name)
def test_a_token_of_one_session_is_refused_as_quickly_for_any_other(http: httpx.Client, operation: Operation):
    plant(http)
    bound = {"session": "of-nobody", "scopes": ["turns"]}
    made = http.post("/v1/tokens", json=bound, headers={"x-api-key": "tw_backend"})
    ask = partial(posted, http, operation, {"Authorization": f"Bearer {made.json()['token']}"}, 404)
    pairs = paired(lambda _: ask("of-ada"), lambda number: ask(f"no-{number:03}"))
    assert abs(slower_share(pairs) - 0.5) < LOOSE


@pytest.mark.parametrize("operation", BEGINNING, ids=lambda operation: operation.name)
def test_a_user_is_refused_as_quickly_for_the_session_of_anybody(http: httpx.Client, operation: Operation):
    """Who may begin sessions learns that a name is taken, but not whose it is, nor whether it has this turn."""
    plant(http)
    ask = partial(posted, http, operation, {"x-api-key": "tw_bob"}, 404)
    pairs = paired(lambda _: ask("of-ada"), lambda _: ask("of-nobody"))
    assert abs(slower_share(pairs) - 0.5) < LOOSE


def test_the_statistic_would_see_another_round_trip_to_redis():
    chance = random.Random(7)
    noise = [(chance.gauss(2.0, 0.3), chance.gauss(2.0, 0.3)) for _ in range(PAIRS)]
    assert abs(slower_share(noise) - 0.5) < TOLERATED
    assert slower_share([(first + 0.4, second) for first, second in noise]) - 0.5 > TOLERATED
