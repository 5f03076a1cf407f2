"""The serialized form of a job, as arq writes and reads it."""

import random
import time
from typing import Any

import msgspec
from arq.jobs import serialize_job


def encode_job(job: dict[str, Any]) -> bytes:
    """Serialize a job for arq: with msgpack, never with pickle."""
    return msgspec.msgpack.encode(job)


def decode_job(data: bytes) -> dict[str, Any]:
    """Read a job as arq does."""
    job: dict[str, Any] = msgspec.msgpack.decode(data)
    return job


def new_job(function: str, job_id: str) -> bytes:
    """Return a new job. Its bytes differ from every other job's, so one that is enqueued while it runs, runs again."""
    return serialize_job(
        function, (job_id,), {"nonce": nonce()}, None, time.time_ns() // 1_000_000, serializer=encode_job
    )


def nonce() -> str:
    """Return a text that is unlike others. It is no secret, so it need not cost a call of the system."""
    return f"{random.getrandbits(32):08x}"
