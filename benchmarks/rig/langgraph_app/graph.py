"""A graph of one node that yields as many custom events as it is asked for. Runs in LangGraph's own server."""

import asyncio
import time
from typing import Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    """The load."""

    events: int
    rate_per_s: float


async def produce(state: State) -> dict[str, Any]:
    """The events of one turn, on the schedule of the other services' product."""
    write, clock = get_stream_writer(), asyncio.get_running_loop().time
    began, rate_per_s = clock(), state.get("rate_per_s")
    for number in range(1, state["events"] + 1):
        if rate_per_s:
            await asyncio.sleep(max(0.0, began + number / rate_per_s - clock()))
        write({"number": number, "delta": "x" * 40, "at": time.monotonic_ns()})
    return {}


graph = StateGraph(State).add_node("produce", produce).add_edge(START, "produce").add_edge("produce", END).compile()
