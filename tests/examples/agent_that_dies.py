"""examples.agent, whose worker dies once after its first tool, if the message says so. It notes every tool."""

import os
import signal
from pathlib import Path

from examples import agent, orders

CALLS = Path(os.environ["CALLS"])


def note(name):
    with CALLS.open("a") as calls:
        calls.write(f"{name}\n")


def look_up(*args):
    note("look_up")
    return found(*args)


async def refund(*args):
    note("refund")
    return await refunded(*args)


found, refunded = orders.look_up, orders.refund
orders.WORK.update(look_up=look_up, refund=refund)


class DyingAgent(agent.Agent):
    async def produce(self, turn):
        async for event in super().produce(turn):
            yield event
            first_result = turn.attempt == 1 and isinstance(event, dict) and event["type"] == "tool.result"
            if first_result and turn.message.startswith("die"):
                os.kill(os.getpid(), signal.SIGKILL)


hooks = DyingAgent()
