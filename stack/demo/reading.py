"""Reads the lines of a stream, the checkpoints and the counts of the demo. It does no I/O."""

from typing import Any

from turnwire.shared.events import PART_UPDATED, RUN_RESUMED, Cursor

SHOWN_CHARACTERS = 90

Line = dict[str, Any]


def text(lines: list[Line]) -> str:
    """Return the text that a reader of the deltas sees."""
    return "".join(line["data"]["delta"] for line in lines if line["type"] == PART_UPDATED)


def shortened(data: str) -> str:
    """Return the beginning of a text, long enough to recognise it."""
    return data if len(data) <= SHOWN_CHARACTERS else data[: SHOWN_CHARACTERS - 1] + "…"


def tokens(counted: dict[str, Any]) -> int:
    """Return the tokens of a call on the bill, or of a row of the ledger."""
    return int(counted["tokens_in"]) + int(counted["tokens_out"])


def counts(counted: dict[str, Any]) -> str:
    """Return the tokens as text."""
    return f"{counted['tokens_in']:>3} tokens in, {counted['tokens_out']:>3} out"


def words(lines: list[Line]) -> int:
    """Return how many deltas there are."""
    return sum(line["type"] == PART_UPDATED for line in lines)


def standing(lines: list[Line]) -> list[Line]:
    """Return the lines that a client keeps, which drops the events after the cursor of `session.run.resumed`."""
    kept: list[Line] = []
    for line in lines:
        if line["type"] == RUN_RESUMED:
            after = Cursor.parse(line["data"]["after"])
            kept = [one for one in kept if Cursor.parse(one["id"]) <= after]
        kept.append(line)
    return kept


def keeps(before: dict[int, dict[str, Any]], after: dict[int, dict[str, Any]]) -> bool:
    """Return whether the product's two steps were done, and their records are still the same."""
    done = [step["intent"] for step in before.values() if step["status"] == "completed"]
    return done == ["plan", "search"] and all(after[position] == step for position, step in before.items())
