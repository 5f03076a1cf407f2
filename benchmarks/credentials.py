"""What the check of credentials costs each request, in CPU time of the API process, by the kind of credentials.

It calls the check as the API does, from the headers of a request to the identity, without HTTP and without Redis, which
the check does not ask. The figure is that of the fastest round, because other work on the machine can only add to it.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rig.report import Report, options, run_main
from turnwire.api.access.door import Door
from turnwire.api.access.identity import Identity, Scope
from turnwire.api.access.new_key import NewKey, new_key
from turnwire.api.edge.credentials import presented
from turnwire.api.edge.exchange import Exchange
from turnwire.shared.key_file import WatchedKeyFile
from turnwire.shared.settings import Settings

SECRET = "t" * 64
IDENTITY = Identity("t0", frozenset({Scope.TURNS}), "k0", session_prefix="a-")


async def _nothing(*_: object) -> None:
    """Stands for ASGI's receive and send, which the check does not call."""


def request(secret: str) -> Exchange:
    """A request with the headers that a client sends."""
    headers = [(b"host", b"chat.example.com"), (b"accept", b"*/*"), (b"content-type", b"application/json")]
    headers.append((b"authorization", f"Bearer {secret}".encode()))
    return Exchange({"type": "http", "headers": headers, "query_string": b""}, _nothing, _nothing)  # type: ignore[arg-type]


async def cost_us(door: Door, secret: str, calls: int, rounds: int, forget: Callable[[], None]) -> float:
    """The µs of CPU time of one check in the fastest round. `forget` is called before each check."""
    exchange, fastest = request(secret), float("inf")
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(calls):
            forget()
            identity = await door.identify(presented(exchange, may_be_in_url=False))
            identity.require(Scope.READ)
        fastest = min(fastest, (time.process_time() - began) / calls)
    return fastest * 1e6


def write(directory: Path, keys: list[NewKey]) -> Path:
    """Write a file of these keys."""
    path = directory / "keys.toml"
    path.write_text("\n".join(key.block for key in keys), encoding="utf-8")
    return path


async def measure(args: argparse.Namespace, report: Report, directory: Path) -> None:
    calls = 200 if args.quick else 5000
    for keys in args.keys:
        made = [new_key(f"k{number}", f"t{number}", ["turns"]) for number in range(keys)]
        path = write(directory, made)
        began = time.process_time()
        key_file = WatchedKeyFile(str(path))
        report.row(f"reading a file of {keys} keys", (time.process_time() - began) * 1e6)
        door = Door(Settings(api_keys_file=str(path), token_secret=SECRET), key_file)
        cost = await cost_us(door, made[-1].secret, calls, args.rounds, lambda: None)
        report.row(f"an API key, one of {keys}", cost)
    assert door.session_tokens is not None
    token = door.session_tokens.make(IDENTITY, 600).token
    report.row("a session token", await cost_us(door, token, calls, args.rounds, lambda: None))
    first = await cost_us(door, token, calls // 20, args.rounds, door.forget_tokens)
    report.row("a session token that comes for the first time", first)


def main() -> None:
    parser = options(__doc__, "credentials", rounds=9)
    parser.add_argument("--keys", type=int, nargs="+", default=[1, 1000, 10_000], help="keys in the file (%(default)s)")
    args = parser.parse_args()
    report = Report("credentials", args, ["", "µs of CPU"])
    with TemporaryDirectory() as directory:
        asyncio.run(measure(args, report, Path(directory)))
    report.publish()


if __name__ == "__main__":
    run_main(main)
