"""How quick the server is, whether its clock agrees with ours, and whether scripts and messages get through."""

import time
import uuid
from statistics import quantiles
from typing import Final

from redis.exceptions import RedisError

from turnwire.cli.doctor.findings import Finding, fail, ok, warn
from turnwire.cli.doctor.server import Server
from turnwire.shared import channels, keys

PINGS: Final = 200
SLOW_P50_MS, SLOW_P99_MS, BAD_P50_MS = 5.0, 20.0, 50.0
CLOCK_S, BAD_CLOCK_S = 2.0, 60.0
ARRIVES_S: Final = 2.0
_REFUSES_WRITES: Final = {
    "NOREPLICAS": "too few replicas are connected (min-replicas-to-write), so the server refuses writes",
    "READONLY": "the server is a replica, so it refuses writes",
    "MISCONF": "the server cannot save its data, so it refuses writes",
    "OOM": "the memory of the server is full, so it refuses writes",
    "BUSY": "a script has been running for seconds, so the server answers nothing else",
}


def check_latency(server: Server) -> list[Finding]:
    """The time of a round trip: every step of a turn takes some of them."""
    times_ms = []
    for _ in range(PINGS):
        began_s = time.perf_counter()
        server.redis.ping()
        times_ms.append((time.perf_counter() - began_s) * 1000)
    cuts = quantiles(times_ms, n=100)
    p50, p99 = cuts[49], cuts[98]
    text = f"a round trip takes {p50:.2f} ms (p50), {p99:.2f} ms (p99)"
    means = "every event waits for one, and a turn takes a dozen"
    fix = "run the server in the same zone; redis-cli --latency-history, redis-cli SLOWLOG GET"
    if p50 >= BAD_P50_MS:
        return [fail("latency", text, means, fix)]
    if p50 >= SLOW_P50_MS or p99 >= SLOW_P99_MS:
        return [warn("latency", text, means, fix)]
    return [ok("latency", text)]


def check_clock(server: Server) -> list[Finding]:
    """The server's clock counts for turns, this machine's for tokens and logs."""
    before_s = time.time()
    seconds, micros = server.redis.time()
    ahead_s = seconds + micros / 1_000_000 - (before_s + time.time()) / 2
    text = f"its clock is {abs(ahead_s):.3f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
    means = "tokens expire too early or too late, and the times of logs and turns do not agree"
    fix = "let both machines follow the same time servers: chronyc tracking"
    if abs(ahead_s) >= BAD_CLOCK_S:
        return [fail("clock", text, means, fix)]
    return [warn("clock", text, means, fix)] if abs(ahead_s) >= CLOCK_S else [ok("clock", text)]


def check_scripts(server: Server) -> list[Finding]:
    """Every change of a turn is a script, and it must be allowed to write."""
    absent = keys.claims("doctor")  # there is no such key, so nothing is written
    try:
        server.redis.eval("return redis.call('PEXPIRE', KEYS[1], 1)", 1, absent)
    except RedisError as error:
        means = next((text for word, text in _REFUSES_WRITES.items() if word in str(error)), "no turn can be changed")
        return [
            fail("scripts", f"a script that writes is refused: {error}", means, "redis-cli INFO; see the checks above")
        ]
    return [ok("scripts", "scripts run, and may write")]


def check_messages(server: Server, deployment: str) -> list[Finding]:
    """Events reach readers by pub/sub. Without it they come late, when a reader looks into the log."""
    channel = keys.session_key("turnwire-doctor").turn(0).channel(deployment)
    text = uuid.uuid4().hex
    try:
        with server.redis.pubsub() as subscription:
            subscription.subscribe(channel)
            began_s = time.perf_counter()
            server.redis.publish(channel, text)
            while (left_s := began_s + ARRIVES_S - time.perf_counter()) > 0:
                message = subscription.get_message(ignore_subscribe_messages=True, timeout=left_s)
                if message and message["data"] == text:
                    took_ms = (time.perf_counter() - began_s) * 1000
                    return [ok("messages", f"a published message arrives after {took_ms:.2f} ms")]
    except RedisError as error:
        means = "readers see events late, and a cancel takes seconds"
        fix = f"redis-cli ACL SETUSER <user> +publish +subscribe '&{channels.channel_prefix(deployment)}events:*'"
        return [fail("messages", f"pub/sub is refused: {error}", means, fix)]
    means = "readers see events late, and a cancel takes seconds"
    return [fail("messages", f"a published message did not arrive within {ARRIVES_S:g} s", means)]
