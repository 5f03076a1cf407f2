"""Measures what the built-in codec costs: the CPU time to seal and to open an event, by its size."""

import base64
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.rig.report import Report, options, run_main
from turnwire.shared.aes_codec import AesGcmCodec
from turnwire.shared.events import PART_UPDATED, encode_event
from turnwire.shared.keys import session_key
from turnwire.shared.store.sealing import Sealing

SIZES = (20, 1000, 16_000)  # characters of text in an event
KEY = session_key("bench").turn(0)


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "codec", rounds=5)
    parser.add_argument("--events", type=int, default=20_000, help="events in each round")
    args = parser.parse_args()
    columns = ["Text, characters", "Seal, µs", "Open, µs", "Event, bytes", "Sealed, bytes"]
    report = Report("codec", args, columns)
    with tempfile.TemporaryDirectory() as folder:
        sealing = Sealing(AesGcmCodec(str(_key_file(Path(folder)))))
        for size in SIZES:
            event = encode_event(PART_UPDATED, {"part": {"type": "text"}, "delta": "x" * size})
            sealed = sealing.seal_event(KEY, event)
            seal_us = _fastest_us(args.rounds, args.events, partial(sealing.seal_event, KEY, event))
            open_us = _fastest_us(args.rounds, args.events, partial(sealing.open_event, KEY, sealed))
            report.row(size, round(seal_us, 1), round(open_us, 1), len(event), len(sealed))
    report.publish()


def _key_file(folder: Path) -> Path:
    key = base64.b64encode(os.urandom(32)).decode()
    path = folder / "codec.toml"
    path.write_text(f'[tenant.default]\ncurrent = "k"\nkeys = {{ k = "{key}" }}\n', encoding="utf-8")
    return path


def _fastest_us(rounds: int, events: int, work: Callable[[], object]) -> float:
    """Return the CPU time of one call in the fastest round, in µs."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(events):
            work()
        times.append((time.process_time() - began) / events * 1e6)
    return min(times)


if __name__ == "__main__":
    run_main(main)
