"""Measures the time from the enqueue call to the job's first line. Jobs arrive at random (Poisson) at idle workers."""

import sys

from benchmarks.rig.measure import medians, p50_p99
from benchmarks.rig.queues import ARQ, ARQ_BUSY, STREAQ, TASKIQ, TURNWIRE, idle_pool
from benchmarks.rig.report import Report, options, ratio, run_main

QUEUES = [TURNWIRE, ARQ, ARQ_BUSY, STREAQ, TASKIQ]
POOLS = [1, 8]
RUN_LIMIT_S = 30.0


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "dispatch", rounds=2)
    parser.add_argument("--jobs", type=int, default=300, help="jobs in one round (%(default)s)")
    parser.add_argument("--rate", type=float, default=25.0, help="jobs a second (%(default)s)")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.jobs = 1, 100
    report = Report("dispatch", args, ["workers", "system", "p50 ms", "p99 ms", "p50 against ours"])
    rounds: dict[tuple[int, str], list[dict[str, float]]] = {}
    for number in range(args.rounds):
        for workers in POOLS:
            for queue in QUEUES:
                print(f"round {number + 1} of {args.rounds}: {queue.name}, {workers} workers", file=sys.stderr)
                with idle_pool(queue, workers) as ready:
                    sent = ready.drive(args.jobs, args.rate)
                    starts = ready.wait(sent, RUN_LIMIT_S)
                late_ms = [(starts[job] - at_ns) / 1e6 for job, at_ns in sent.items()]
                rounds.setdefault((workers, queue.name), []).append(p50_p99(late_ms, "ms"))
    results = {key: medians(figures) for key, figures in rounds.items()}
    for (workers, name), figures in results.items():
        ours = results[workers, TURNWIRE.name]["ms p50"]
        report.row(str(workers), name, figures["ms p50"], figures["ms p99"], ratio(ours, figures["ms p50"]))
    report.note("Goal: p50 <= 3 ms, p99 <= 15 ms. Ours counts the write that makes the turn and enqueues it.")
    report.publish()


if __name__ == "__main__":
    run_main(main)
