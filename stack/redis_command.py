"""`dev.py redis COMMAND …` sends one Redis command to the running stack, for machines without redis-cli."""

import os
import sys
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from stack.cluster import ROOT

URL_FILE = ROOT / ".turnwire" / "redis-url"  # written by `dev.py run`


def main(args: list[str]) -> int:
    """Send the command and print the answer, a value on each line. Return 1 without an answer, 2 without a command."""
    if not args:
        print("redis: give a command, such as: KEYS 'lease:*'", file=sys.stderr)
        return 2
    url = os.environ.get("TURNWIRE_REDIS_URL") or url_of_run(URL_FILE)
    if url is None:
        print("redis: nothing runs from this checkout; start it with: python3 dev.py", file=sys.stderr)
        return 1
    try:
        with Redis.from_url(url, decode_responses=True, encoding_errors="replace") as redis:
            answer = redis.execute_command(*args)
    except RedisError as error:
        print(f"redis: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines(answer)))
    return 0


def url_of_run(file: Path) -> str | None:
    """Return the URL that `dev.py run` has written to a file, or None if it does not run."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def lines(answer: object) -> list[str]:
    """Return an answer of Redis as lines of text. Nested values follow each other; a field of a hash is one line."""
    if answer is None:
        return ["(nil)"]
    if isinstance(answer, dict):
        return [f"{name} {value}" for name, value in answer.items()]
    if isinstance(answer, list | tuple | set):
        return [line for part in answer for line in lines(part)]
    return [str(answer)]
