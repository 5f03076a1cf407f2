"""Measures the delay that each proxy of deploy/ adds to a live line of a stream.

The same turn is read from the API and through the proxy, over TLS. The difference of the arrivals of a line is what the
proxy adds, with TLS and with the time in which this client reads the other copy.
"""

import argparse
import asyncio
import ssl
import sys
import time
from asyncio import StreamReader, StreamWriter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from benchmarks.rig.measure import medians, p50_p99
from benchmarks.rig.report import Report, options, run_main
from benchmarks.rig.services import redis_server, turnwire, workspace
from benchmarks.rig.tail_client import TailClient
from stack.proxies import PROXIES, SITE, ProgramMissing, certificate_in, running, trusting

GOAL_MS = 5.0
LIMIT_S = 60.0
READY_S = 20.0
PAUSE_S = 0.02
LINE = b'{"id":"'


async def opened(address: str, path: str, tls: ssl.SSLContext | None) -> tuple[StreamReader, StreamWriter]:
    """Ask for the path until the answer is a 200: the proxy may not be ready yet, or the turn may not be there."""
    host, _, port = address.partition(":")
    named: dict[str, Any] = {"ssl": tls, "server_hostname": SITE} if tls else {}
    async with asyncio.timeout(READY_S):
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, int(port), **named)
            except OSError:
                await asyncio.sleep(PAUSE_S)
                continue
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {SITE}\r\nAccept: */*\r\n\r\n".encode())
            status = await reader.readline()
            if b" 200 " in status:
                return reader, writer
            writer.transport.abort()
            await asyncio.sleep(PAUSE_S)


async def arrivals(address: str, path: str, tls: ssl.SSLContext | None) -> dict[bytes, float]:
    """Follow a turn to its end. Returns when each line arrived, in s, by its cursor."""
    reader, writer = await opened(address, path, tls)
    found: dict[bytes, float] = {}
    async with asyncio.timeout(LIMIT_S):
        while line := await reader.readline():
            if line.startswith(LINE):
                found[line[len(LINE) :].partition(b'"')[0]] = time.monotonic()
            if b'"type":"session.run.completed"' in line:
                break
    writer.transport.abort()
    return found


async def measure(base_url: str, port: int, args: argparse.Namespace) -> dict[str, float]:
    """One round. Returns the percentiles of what the proxy adds to a line, in ms."""
    tls, api = trusting(), urlsplit(base_url).netloc
    _, ready = await opened(f"127.0.0.1:{port}", "/readyz", tls)
    ready.transport.abort()
    client = TailClient(base_url, timeout_s=LIMIT_S)
    added = []
    for number in range(args.turns):
        name = f"p{port}-{number}"
        asked = asyncio.create_task(client.ask(name, {"events": args.events, "rate_per_s": args.rate}))
        path = f"/v1/sessions/{name}/turns/0/events"
        direct, proxied = await asyncio.gather(arrivals(api, path, None), arrivals(f"127.0.0.1:{port}", path, tls))
        await asked
        assert direct.keys() == proxied.keys(), "a line is missing"
        live = sorted(direct, key=lambda cursor: int(cursor.partition(b"-")[2]))[args.events // 4 :]
        added += [1000 * (proxied[cursor] - direct[cursor]) for cursor in live]
    return p50_p99(added, "added")


def measured(name: str, directory: Path, base_url: str, args: argparse.Namespace) -> dict[str, float] | None:
    """Return the medians of all rounds; None if the proxy's program is not here."""
    try:
        with running(name, directory, [urlsplit(base_url).netloc], certificate_in(directory)) as port:
            return medians([uvloop.run(measure(base_url, port, args)) for _ in range(args.rounds)])
    except ProgramMissing as missing:
        print(f"{name}: {missing}", file=sys.stderr)
        return None


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, "proxies", rounds=3)
    parser.add_argument("--turns", type=int, default=5, help="in one round (%(default)s)")
    parser.add_argument("--events", type=int, default=400, help="of a turn (%(default)s)")
    parser.add_argument("--rate", type=float, default=100.0, help="events a second (%(default)s)")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.turns, args.events = 1, 1, 100
    report = Report("proxies", args, ["proxy", "added p50 ms", "added p99 ms", "goal, p99 ms"])
    with workspace() as directory, redis_server(directory) as redis:
        env = {"TURNWIRE_ALLOWED_HOSTS": f"{SITE},127.0.0.1,localhost,bench"}
        with turnwire(directory, redis, env=env) as stack:
            for name in PROXIES:
                folder = directory / name
                folder.mkdir()
                figures = measured(name, folder, stack.base_urls[0], args)
                if figures:
                    report.row(name, figures["added p50"], figures["added p99"], f"<= {GOAL_MS:g}")
    report.publish()


if __name__ == "__main__":
    run_main(main)
