"""Asks turns that lose their workers in mid-answer, and looks at what the client got and what the model made."""

import asyncio
import time
from dataclasses import dataclass, field
from itertools import count

from benchmarks.rig.model_servers import ANSWER_WORDS, Server
from benchmarks.rig.tail_client import Answer, Event, TailClient, WrongAnswerError
from benchmarks.takeover import Observer
from stack.cluster import Stack
from turnwire.shared.keys import SessionKey, TurnKey

LIMIT_S = 300.0
RESTART_WORDS, RESTART_RATE = 400, 8
EXIT_LIMIT_S = 20.0

names = (f"n{number}" for number in count())


@dataclass
class Kills:
    """What some kills did. `same`: how many answers have the text of an undisturbed one."""

    made: int = 0
    needed: int = 0
    dropped: int = 0
    same: int = 0
    waits_ms: list[float] = field(default_factory=list)


@dataclass
class Restarts:
    """What the restarts of all workers did."""

    restarts: int
    made: int
    needed: int
    dropped: int
    same: int


class Reading:
    """A client's view of one turn: the text that it shows, and what it had to drop."""

    def __init__(self, events: list[Event]) -> None:
        self.dropped = 0
        self._standing: list[Event] = []
        self.growth: list[
            tuple[int, int]
        ] = []  # of the events since the last takeover: when, and how long the text was
        self.had = 0  # how long the text was before that
        for event in events:
            if event.type == "session.run.resumed":
                after = int(event.data["after"].partition("-")[2])
                kept = [one for one in self._standing if one.seq <= after]
                self.dropped += len(self._standing) - len(kept)
                self.had, self.growth = max(self.had, len(self.text)), []
                self._standing = kept
            self._standing.append(event)
            self.growth.append((event.at_ns, len(self.text)))

    @property
    def text(self) -> str:
        """The text of the deltas that stand."""
        text = ""
        for event in self._standing:
            if event.type == "message.part.updated":
                part = event.data["part"]
                text = part["text"] if "text" in part else text + event.data["delta"]
        return text


def read(answer: Answer) -> Reading:
    """Check an answer, and return how its client sees it. The result must be the text that it shows."""
    events = answer.lines()
    result = answer.events(resumed=True)[-2]
    reading = Reading(events)
    if result.type != "result" or result.data["finalText"] != reading.text:
        raise WrongAnswerError(f"the client shows another text than the result: {reading.text!r:.200}")
    return reading


async def come(answer: Answer, deltas: int) -> None:
    """Wait until the client has so many deltas."""
    async with asyncio.timeout(LIMIT_S):
        while answer.seen(b'"delta"') < deltas:  # noqa: ASYNC110 - the client keeps bytes and looks at them later
            await asyncio.sleep(0.005)


async def idle(server: Server) -> int:
    """Wait until the model server makes nothing, and return how much it has made."""
    async with asyncio.timeout(LIMIT_S):
        while not server.idle():  # noqa: ASYNC110 - a server has no other way to tell
            await asyncio.sleep(0.05)
    return server.made()


async def ask(client: TailClient, server: Server, session: str, message: str) -> Answer:
    """Ask a turn."""
    return await client.submit(session, {"message": message, "options": server.options})


async def kill(stack: Stack, server: Server, share: int, times: int) -> Kills:
    """Kill the worker of a turn after a share of its answer, so many times."""
    observer, client, result = Observer(stack), TailClient(stack.base_urls[0], timeout_s=LIMIT_S), Kills()
    try:
        for _ in range(times):
            name = next(names)
            whole, deltas, tokens = await undisturbed(client, server, name)
            before = await idle(server)
            session = f"kill-{name}"
            answer = await ask(client, server, session, server.message(name))
            await come(answer, deltas * share // 100)
            number = await observer.owner(TurnKey(SessionKey("default", session), 0))
            struck_ns = time.monotonic_ns()
            stack.worker[number].kill()
            await client.finish(answer)
            reading = read(answer)
            result.made += await idle(server) - before
            result.needed += tokens
            result.dropped += reading.dropped
            result.same += reading.text == whole
            result.waits_ms.append(wait_ms(reading, struck_ns))
            stack.worker[number].start()
            stack.wait_worker(number)
    finally:
        await observer.aclose()
    return result


async def undisturbed(client: TailClient, server: Server, name: str) -> tuple[str, int, int]:
    """Return the text of an answer that nothing disturbs, in how many deltas it comes, and its tokens."""
    known = server.text(name)
    if known is not None:
        return known, ANSWER_WORDS, ANSWER_WORDS
    before = await idle(server)
    answer = await client.finish(await ask(client, server, f"whole-{name}", server.message(name)))
    return read(answer).text, answer.seen(b'"delta"'), await idle(server) - before


def wait_ms(reading: Reading, struck_ns: int) -> float:
    """Return how long after the kill the client had more text than before it."""
    return next((at_ns - struck_ns) / 1e6 for at_ns, length in reading.growth if length > reading.had)


async def restart(stack: Stack, server: Server, turns: int) -> Restarts:
    """Restart all workers, one after the other, while so many answers run."""
    client = TailClient(stack.base_urls[0], timeout_s=LIMIT_S)
    before = await idle(server)
    asked = [next(names) for _ in range(turns)]
    messages = [server.message(name, RESTART_WORDS, RESTART_RATE) for name in asked]
    sessions = [f"restart-{name}" for name in asked]
    running = [await ask(client, server, *turn) for turn in zip(sessions, messages, strict=True)]
    await asyncio.gather(*(come(answer, 2) for answer in running))
    for number, worker in enumerate(stack.worker):
        worker.terminate()
        await asyncio.to_thread(worker.wait, EXIT_LIMIT_S)
        worker.start()
        await asyncio.to_thread(stack.wait_worker, number)
    if any(answer.ended.done() for answer in running):
        raise WrongAnswerError("an answer has ended before the last restart: they are too short")
    readings = [read(await client.finish(answer)) for answer in running]
    same = sum(reading.text == server.text(name, RESTART_WORDS) for name, reading in zip(asked, readings, strict=True))
    if same != turns:
        raise WrongAnswerError(f"{turns - same} texts are not those of an undisturbed answer")
    dropped = sum(reading.dropped for reading in readings)
    return Restarts(len(stack.worker), await idle(server) - before, turns * RESTART_WORDS, dropped, same)
