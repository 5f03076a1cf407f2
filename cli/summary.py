"""Says in one line how a turn has ended, and what it used."""

from typing import Any

from turnwire.cli import screen


def summary(record: dict[str, Any]) -> str:
    """Return how a turn ended, in one line: its state, time, usage, cost and finish reason."""
    usage = record.get("usage") or {}
    ended, began = record.get("completed_at"), record.get("started_at")
    told = [
        record["status"],
        record["run_id"],
        f"attempt {record['attempt']}",
        screen.duration(ended - began) if ended and began else None,
        usage_text(usage),
        usage.get("finish_reason"),
        "not persisted yet" if record.get("persist") == "pending" else None,
        (record.get("error") or {}).get("code"),
    ]
    return screen.in_a_line(" · ".join(str(word) for word in told if word), 300)


def usage_text(usage: dict[str, Any]) -> str | None:
    """Return tokens and cost as text; None if no model was called."""
    if not usage.get("model_calls"):
        return None
    counts = ["?" if usage.get(name) is None else str(usage[name]) for name in ("tokens_in", "tokens_out")]
    tokens = "tokens unknown" if counts == ["?", "?"] else f"{counts[0]} in / {counts[1]} out tokens"
    nanos = usage.get("cost_nanos")
    text = tokens if nanos is None else f"{tokens} · {screen.cost(nanos, usage.get('currency'))}"
    return f"{text} (partial)" if usage.get("partial") else text


def parent_text(record: dict[str, Any]) -> str | None:
    """Return the index of the turn that this one follows; None if it follows the default one."""
    parent = record.get("parent")
    if parent is None:
        return None
    return "none" if parent < 0 else str(parent)
