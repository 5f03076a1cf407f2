"""The hooks of the example EXAMPLE=<module>. Their worker dies once, when the row is written and not yet noted."""

import importlib
import os
import signal
from pathlib import Path

from turnwire.worker.turn.calling import call

hooks = importlib.import_module(os.environ["EXAMPLE"]).hooks
hooks._delay_s = 0  # the demo pauses only for human readers
persist = hooks.persist_assistant_message


def note(attempt):
    with Path(os.environ["CALLS"]).open("a") as calls:
        calls.write(f"{attempt}\n")


async def persist_and_die(turn, final_text):
    await call(persist, turn, final_text)
    note(turn.attempt)
    if turn.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


hooks.persist_assistant_message = persist_and_die
