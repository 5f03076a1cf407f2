"""The tools of examples/agent.py: what the model is told about them, and what they do. Real tools ask the shop."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

NEEDS_APPROVAL = {"refund"}


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of both tools."""

    order: str


def look_up(wanted: Order, _key: str) -> dict[str, Any]:
    """Look up an order. This is no coroutine, so Turnwire runs it in a thread."""
    return {"order": wanted.order, "state": "arrived broken", "paid_eur": 40}


async def refund(wanted: Order, key: str) -> dict[str, Any]:
    """Refund an order. A crash before its checkpoint runs it again, with the same `key`, so that a bank can notice."""
    return {"order": wanted.order, "refunded_eur": 40, "receipt": f"refund/{key}"}


WORK = {"look_up": look_up, "refund": refund}
PARAMETERS = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in WORK]


def work_of(call: Mapping[str, Any]) -> Callable[[], Any] | None:
    """Return what to run for one of the model's `tool_calls`, or None if the model made a mistake."""
    try:
        order = msgspec.json.decode(call["function"]["arguments"], type=Order)
        return partial(WORK[call["function"]["name"]], order, call["id"])
    except (KeyError, msgspec.DecodeError):
        return None
