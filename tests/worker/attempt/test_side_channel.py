"""on_event: sees everything in order, holds up nothing, and never fails a turn."""

import asyncio
import threading
from types import SimpleNamespace
from typing import cast

from tests.support.waiting import wait_until
from turnwire import Turn
from turnwire.shared.events import encode_event
from turnwire.worker.attempt import side_channel
from turnwire.worker.attempt.side_channel import SideChannel

TURN = cast("Turn", SimpleNamespace(run_id="chat:demo:0"))


def event(number: int) -> bytes:
    return encode_event("n", {"n": number})


async def test_c10_it_sees_every_event_in_order_and_all_of_them_before_the_end():
    seen = []

    async def on_event(turn, event):
        seen.append((turn, event.type, event.data["n"]))

    channel = SideChannel(on_event, TURN)
    for number in range(50):
        channel.show(event(number))
    await channel.close()
    assert seen == [(TURN, "n", number) for number in range(50)]


async def test_a_plain_function_sees_them_in_order_too_in_a_thread():
    seen, threads = [], set()

    def on_event(turn, event):
        seen.append(event.data["n"])
        threads.add(threading.current_thread())

    channel = SideChannel(on_event, TURN)
    for number in range(20):
        channel.show(event(number))
    await channel.close()
    assert seen == list(range(20))
    assert threading.current_thread() not in threads


async def test_w17_a_slow_hook_misses_events_instead_of_holding_up_the_stream_or_growing(monkeypatch):
    monkeypatch.setattr(side_channel, "QUEUED_EVENTS", 10)
    monkeypatch.setattr(side_channel, "CLOSE_S", 0.05)
    gate, seen = asyncio.Event(), []

    async def on_event(turn, event):
        seen.append(event.data.get("n", event.data))
        await gate.wait()

    channel = SideChannel(on_event, TURN)
    channel.show(event(0))
    await wait_until(lambda: seen, "the hook to be stuck in its first event")
    for number in range(1, 1000):
        channel.show(event(number))
    gate.set()
    await channel.close()
    assert seen == [*range(11), {"count": 989}]


async def test_a_slow_hook_misses_no_event_of_the_turns_life_and_hears_what_it_missed(monkeypatch):
    monkeypatch.setattr(side_channel, "QUEUED_EVENTS", 2)
    gate, seen = asyncio.Event(), []

    async def on_event(turn, event):
        seen.append((event.type, event.data))
        await gate.wait()

    channel = SideChannel(on_event, TURN)
    channel.show(event(0))
    await wait_until(lambda: seen, "the hook to be stuck in its first event")
    for number in range(1, 6):
        channel.show(event(number))
    channel.show(encode_event("session.run.resumed", {"attempt": 2}))
    channel.show(event(6))
    channel.show(encode_event("session.run.completed", {}))
    gate.set()
    await channel.close()
    assert seen == [
        ("n", {"n": 0}),
        ("n", {"n": 1}),
        ("n", {"n": 2}),
        (side_channel.SKIPPED, {"count": 3}),
        ("session.run.resumed", {"attempt": 2}),
        (side_channel.SKIPPED, {"count": 1}),
        ("session.run.completed", {}),
    ]


async def test_a_hook_that_never_comes_back_ends_with_the_turn(monkeypatch):
    monkeypatch.setattr(side_channel, "CLOSE_S", 0.05)
    stopped = asyncio.Event()

    async def on_event(turn, event):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    channel = SideChannel(on_event, TURN)
    channel.show(event(0))
    await channel.close()
    await wait_until(stopped.is_set, "the hook to be cancelled")


async def test_a_failing_hook_sees_the_next_event_all_the_same(caplog):
    seen = []

    async def on_event(turn, event):
        seen.append(event.data["n"])
        raise RuntimeError("broken hook")

    channel = SideChannel(on_event, TURN)
    channel.show(event(0))
    channel.show(event(1))
    await channel.close()
    assert seen == [0, 1]
    assert "on_event failed" in caplog.text
