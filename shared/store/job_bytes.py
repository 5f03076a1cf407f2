"""The serialized form of a job, as arq writes and reads it."""

import secrets
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
    nonce, now_ms = secrets.token_hex(4), time.time_ns() // 1_000_000
    return serialize_job(function, (job_id,), {"nonce": nonce}, None, now_ms, serializer=encode_job)
