"""A product's code runs where it cannot hold up others, and what it raises stays inside its turn."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.waiting import wait_until
from turnwire.worker.turn import calling
from turnwire.worker.turn.calling import ProductExitError, call, contain_tasks, contained, iterated
from turnwire.worker.turn.given_up import GivenUp
from turnwire.worker.turn.threads import ProductThreads


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> ProductThreads:
    own = ProductThreads(limit=2, given_up=GivenUp())
    monkeypatch.setattr(calling, "product_threads", own)
    return own


def raising(error: BaseException) -> Callable[[], Any]:
    def plain() -> None:
        raise error

    return plain


def raising_coroutine(error: BaseException) -> Callable[[], Any]:
    async def coroutine() -> None:
        raise error

    return coroutine


@pytest.mark.parametrize("form", [raising, raising_coroutine])
@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), asyncio.CancelledError(), BaseException("x")])
async def test_what_asyncio_does_not_carry_becomes_an_exception(form, error):
    with pytest.raises(ProductExitError) as raised:
        await call(form(error))
    assert raised.value.__cause__ is error


async def test_a_plain_function_may_raise_stop_iteration():
    with pytest.raises(ProductExitError, match="StopIteration"):
        await call(lambda: next(iter([])))


@pytest.mark.parametrize("form", [raising, raising_coroutine])
async def test_an_exception_comes_out_as_it_is(form):
    error = ValueError("own words")
    with pytest.raises(ValueError, match="own words") as raised:
        await call(form(error))
    assert raised.value is error


async def test_a_plain_function_may_return_a_coroutine():
    async def answer(value: int) -> int:
        return value

    assert await call(lambda: answer(42)) == 42


async def test_a_cancellation_of_the_caller_is_not_contained():
    async def waits() -> None:
        with contained():
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_time_limit_around_the_call_is_not_contained(threads: ProductThreads):
    release = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await call(release.wait)
    release.set()


async def test_a_task_that_a_product_starts_does_not_end_the_loop():
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    contain_tasks(loop)
    calling.mark_product()
    try:
        task = asyncio.create_task(raising_coroutine(SystemExit(3))())
        with pytest.raises(ProductExitError, match="SystemExit: 3"):
            await task
    finally:
        loop.set_task_factory(before)


async def test_hung_functions_do_not_take_the_places_of_others(threads: ProductThreads):
    release = threading.Event()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await call(release.wait)
    assert threads.given_up.count == 5
    assert await call(lambda: "served") == "served"
    release.set()
    await wait_until(lambda: threads.given_up.count == 0, "the hung functions returned")


async def test_callers_beyond_the_limit_wait_in_their_order(threads: ProductThreads):
    release = threading.Event()
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        release.wait()
        return number

    tasks = [asyncio.create_task(call(work, number)) for number in range(5)]
    await wait_until(lambda: len(begun) == 2, "two of them run")
    tasks[2].cancel()
    release.set()
    assert list(await asyncio.gather(tasks[0], tasks[1], tasks[3], tasks[4])) == [0, 1, 3, 4]
    assert sorted(begun[:2]) == [0, 1]
    assert sorted(begun[2:]) == [3, 4]


async def test_a_place_that_is_given_to_a_cancelled_caller_goes_to_the_next(threads: ProductThreads):
    threads.limit = 1
    release = threading.Event()
    first = asyncio.create_task(call(release.wait))
    await asyncio.sleep(0)
    second, third = asyncio.create_task(call(lambda: 2)), asyncio.create_task(call(lambda: 3))
    await asyncio.sleep(0)
    first.add_done_callback(lambda _: second.cancel())
    release.set()
    assert await third == 3


async def test_threads_are_used_again(threads: ProductThreads):
    before = threading.active_count()
    for _ in range(50):
        await call(time.monotonic)
    assert threading.active_count() <= before + 2


async def test_a_thread_is_a_daemon_so_that_no_exit_waits_for_it(threads: ProductThreads):
    assert await call(lambda: threading.current_thread().daemon)


async def test_a_plain_iterator_is_advanced_in_threads(threads: ProductThreads):
    main = threading.get_ident()

    def numbers():
        for number in range(3):
            yield number, threading.get_ident() == main

    assert [item async for item in iterated(numbers())] == [(0, False), (1, False), (2, False)]
