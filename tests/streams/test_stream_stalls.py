"""Clients that do not read cost little, hold up nobody, are cut off in the end, and may resume."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx

from tests.support.observed import STALL_S, Observed, RunningTurn
from tests.support.rawtail import open_stalled, read_all, readers, wait_for_a_byte
from tests.support.scraped import Scraped
from tests.support.waiting import let_pass, wait_until

STALLED = 200
EVENT_BYTES = 50_000
LOG_EVENTS = 1000
SPENT_MIB = 128  # for all of them; without a bound, each could take as much as the log
BURST = 200


@contextmanager
def stalled(service: Observed, *paths: str) -> Iterator[list[Any]]:
    with ExitStack() as stack:
        yield [stack.enter_context(open_stalled(service.url, path)) for path in paths]


async def fill(turn: RunningTurn, events: int, size: int = EVENT_BYTES) -> None:
    """Write this many events to the turn's log."""
    for number in range(0, events, 10):
        await turn.say(*(f"{number + part} " + "x" * size for part in range(10)))


async def test_stalled_readers_of_a_long_log_cost_bounded_memory_and_leave_nothing(service: Observed, record_property):
    turn = await service.turn("long")
    await fill(turn, LOG_EVENTS)
    before, idle_mib = service.descriptors(), service.memory_mib()
    grown = []
    for wave in range(2):
        # Half of them begin somewhere in the log, each at another place, so that no pages are shared.
        places = [f"?after=1-{wave + number * 4}" if number % 2 else "" for number in range(STALLED)]
        with stalled(service, *(turn.events + place for place in places)):
            await wait_until(lambda: service.clients() == STALLED, "the API accepts every reader")
            await service.quiet()
            await fill(turn, 50)  # they also stall while new events come
            await service.quiet()
            assert service.clients() == STALLED
            grown.append(service.memory_mib() - idle_mib)
        await service.left(before)
    record_property("grown_mib", grown)
    print(
        f"{STALLED} stalled readers of {LOG_EVENTS} events of {EVENT_BYTES} bytes: +{grown[0]:.0f}, +{grown[1]:.0f} MiB"
    )
    assert grown[0] < SPENT_MIB
    assert grown[1] < grown[0] + 16  # the first wave has left nothing behind


async def test_stalled_readers_hold_up_nobody(service: Observed, record_property):
    """The others get everything while the stalled ones are still there, and that costs no more work than without them.

    The work is measured as the service's processor time, because the elapsed time depends on what else runs.
    """
    worked_s = {}
    for count in (0, 50):
        turn = await service.turn(f"others-{count}")
        await fill(turn, 50)
        with stalled(service, *[turn.events] * count):
            await service.quiet()
            async with readers(service.url, *[turn.events] * 20) as following:
                start_s = service.processor_s()
                await fill(turn, BURST, size=2000)
                await turn.end()
                for reader in following:
                    await reader.ended.wait()
                worked_s[count] = service.processor_s() - start_s
                assert all(reader.complete for reader in following)
                assert service.clients() == count + len(following)
    record_property("worked_s", worked_s)
    print(f"20 readers of {BURST} events: {worked_s[0]:.3f} s alone, {worked_s[50]:.3f} s beside 50 stalled ones")
    assert worked_s[50] < 2 * worked_s[0] + 0.2


async def test_a_client_that_takes_nothing_is_cut_off_and_resumes_where_it_was(impatient: Observed):
    turn = await impatient.turn("cut")
    await fill(turn, 100)
    await turn.end()
    before = impatient.descriptors()
    asked_at_s = time.monotonic()  # read before the service can have begun to count
    with stalled(impatient, turn.events) as [connection]:
        await asyncio.to_thread(wait_for_a_byte, connection)
        await impatient.left(before, limit_s=STALL_S + 20)
        assert time.monotonic() - asked_at_s > STALL_S * 0.9
        got = await asyncio.to_thread(read_all, connection)
    ids = [json.loads(line)["id"] for line in got.split(b"\n")[:-1]]  # the last line may be cut off
    async with httpx.AsyncClient(base_url=impatient.url, trust_env=False) as client:
        rest = await client.get(turn.events, params={"after": ids[-1]} if ids else {})
        assert Scraped((await client.get("/metrics")).text)("turnwire_stalled_clients_total") >= 1
    ids += [json.loads(line)["id"] for line in rest.content.splitlines()]
    assert ids == [f"1-{seq}" for seq in range(102)]


async def test_a_client_that_stops_before_the_end_is_cut_off_too(impatient: Observed):
    """For the server, everything is sent; only the kernel still holds the end."""
    turn, before = await impatient.turn("end"), impatient.descriptors()
    with stalled(impatient, turn.events) as [connection]:
        await asyncio.to_thread(wait_for_a_byte, connection)
        await fill(turn, 10, size=8_000)
        await turn.end()
        await impatient.left(before, limit_s=STALL_S * 3 + 20)


async def test_a_client_that_reads_slowly_is_followed_at_its_pace(impatient: Observed):
    turn = await impatient.turn("slow")
    await fill(turn, 10)
    await turn.end()
    got = b""
    start = time.monotonic()
    with stalled(impatient, turn.events) as [connection]:
        connection.setblocking(False)
        while not got.endswith(b"0\r\n\r\n"):
            part = await asyncio.get_running_loop().sock_recv(connection, 65_536)
            assert part, "the client was cut off"
            got += part
            await let_pass(0.05)
    assert time.monotonic() - start > STALL_S * 1.5


async def test_a_client_that_waits_for_events_is_not_stalled(impatient: Observed):
    turn = await impatient.turn("patient")
    async with readers(impatient.url, turn.events) as [reader]:
        await let_pass(STALL_S * 1.5)
        await turn.say("late")
        await turn.end()
        await reader.ended.wait()
        assert reader.complete
