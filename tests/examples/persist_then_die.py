"""An example's hooks, EXAMPLE=<module>, in a worker that dies once: its row is written, and nobody has noted that."""

import importlib
import os
import signal
from pathlib import Path

from turnwire.worker.turn.calling import call

hooks = importlib.import_module(os.environ["EXAMPLE"]).hooks
hooks._delay_s = 0  # the demo's pauses are for people
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
