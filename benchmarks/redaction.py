"""Measures what the hook `redact` costs: the CPU time for each text delta, and how long a text is held back."""

import re
import time

from benchmarks.rig.report import Report, options, run_main
from turnwire.shared.events import PART_UPDATED, ChatStreamEvent
from turnwire.worker.turn.redaction import HeldText, Redaction

TAILS = (0, 64, 256)  # characters
WORD = "word "  # the text of one delta
DELTAS_PER_S = 50  # as fast as a model speaks
SECRET = re.compile(r"\b(?:\d[ -]?){13,16}\b|[\w.+-]+@[\w-]+\.[\w.]+")


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "redaction", rounds=5)
    parser.add_argument("--events", type=int, default=20_000, help="deltas in each round")
    args = parser.parse_args()
    report = Report("redaction", args, ["Tail, characters", "A delta, µs", "Held back, characters", "Held back, ms"])
    for tail in TAILS:
        rounds = [_measured(tail, args.events) for _ in range(args.rounds)]
        held = rounds[0][1]
        report.row(tail, round(min(us for us, _ in rounds), 1), held, round(held / len(WORD) / DELTAS_PER_S * 1000))
    report.publish()


def _measured(tail: int, deltas: int) -> tuple[float, int]:
    """Return the CPU time of a delta in µs, and how much of the text was held back at most."""
    held, sent, most = HeldText(Redaction(_hidden, tail)), 0, 0
    event = ChatStreamEvent(PART_UPDATED, {"part": {"type": "text"}, "delta": WORD})
    began = time.process_time()
    for number in range(1, deltas + 1):
        for safe in held.take(event):
            sent += len(safe.data["delta"])
        most = max(most, number * len(WORD) - sent)
    return (time.process_time() - began) / deltas * 1e6, most


def _hidden(event: ChatStreamEvent) -> ChatStreamEvent:
    return ChatStreamEvent(event.type, event.data | {"delta": SECRET.sub("[hidden]", event.data["delta"])})


if __name__ == "__main__":
    run_main(main)
