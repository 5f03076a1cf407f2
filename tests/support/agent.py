"""A product whose producer is a script with steps."""

from worker.hooks import ChatTurnHooks


class Agent(ChatTurnHooks):
    """Runs a script, `async def script(turn, agent)` yielding events; counts what its steps really did."""

    def __init__(self, script):
        self.script = script
        self.ran = []

    async def produce(self, turn):
        async for event in self.script(turn, self):
            yield event

    def does(self, name, result=None, fails=0):
        """A piece of work that notes that it ran, and fails the first `fails` times."""

        async def work():
            self.ran.append(name)
            if self.ran.count(name) <= fails:
                raise RuntimeError(f"{name} failed")
            return result

        return work
