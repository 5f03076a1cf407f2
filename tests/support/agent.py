"""A product whose producer is a script with steps."""

import asyncio

from turnwire import ChatTurnHooks


class Agent(ChatTurnHooks):
    """Runs a script, an `async def script(turn, agent)` that yields events. Counts what its steps really did."""

    def __init__(self, script):
        self.script = script
        self.ran = []

    async def produce(self, turn):
        async for event in self.script(turn, self):
            yield event

    def does(self, name, result=None, fails=0):
        """Return a piece of work, which notes that it ran and fails the first `fails` times."""

        async def work():
            self.ran.append(name)
            if self.ran.count(name) <= fails:
                raise RuntimeError(f"{name} failed")
            return result

        return work


class Model:
    """A model call. It yields its events, but raises those that are exceptions, and waits where one is `hold`."""

    def __init__(self, *script, calls=None):
        self.script = script
        self.calls = calls or {}  # what later calls yield, by their number
        self.asked = 0
        self.closed = 0
        self.holding = asyncio.Event()

    async def __call__(self):
        self.asked += 1
        try:
            for event in self.calls.get(self.asked, self.script):
                if event == "hold":
                    self.holding.set()
                    await asyncio.Event().wait()
                elif isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed += 1


def answering(model, fails=1, **options):
    """Return a producer that passes a model's answer on, and then fails the first `fails` times."""

    async def script(turn, agent):
        async for event in turn.stream("answer", model, **options):
            yield event
        await turn.step("after", agent.does("after", fails=fails))

    return Agent(script)
