"""The entry of a worker in the list of workers, `turnwire:workers`. Each heartbeat of the worker writes it anew."""

import msgspec


class WorkerEntry(msgspec.Struct, frozen=True):
    """The entry, which is stored as JSON. A field with a default is missing in entries of earlier versions."""

    host: str
    pid: int
    version: str
    started_at: int  # ms, by the clock of the worker's host
    heartbeat: int  # counts up, so an entry that has changed is a sign of life
    at: int  # ms, by the clock of the worker's host
    running: int
    capacity: int
    server: str  # run id of the Redis process that the connection leads to which stands for this process; "": none
    reserved: int = 0  # so many of the slots are for tenants that run nothing there
    is_draining: bool = False
    projects: list[str] | None = None  # those that it has hooks for; None: it has hooks for every turn
    pools: list[str] = []
    events: int | None = None  # so many events its process has written to logs


_decoder = msgspec.json.Decoder(WorkerEntry)


def read_entry(raw: bytes) -> WorkerEntry | None:
    """Read an entry. Returns None for one that another version has written and this one cannot read."""
    try:
        return _decoder.decode(raw)
    except msgspec.MsgspecError:
        return None
