"""Finds the turn that a command names: by its session and index, by its run id, or as the latest of its session."""

import re
from dataclasses import dataclass
from typing import Final

from turnwire.cli.api_client import Api, part, turn_path
from turnwire.cli.exits import CommandError, Exit

DEFAULT_TENANT: Final = "default"
_RUN_ID: Final = re.compile(r"chat:(?:([A-Za-z0-9._-]{1,64})~)?([A-Za-z0-9._-]{1,128}):(0|[1-9][0-9]{0,9})")
_SESSION: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True)
class NamedTurn:
    """A turn. `tenant`: as its run id names it; None: the one of the credentials."""

    session: str
    index: int
    tenant: str | None = None

    @property
    def path(self) -> str:
        """Its path in the API of its tenant."""
        return turn_path(self.session, self.index)

    @property
    def is_of_other_tenant(self) -> bool:
        """Whether a run id names a tenant, so that only an operator's credentials are sure to reach it."""
        return self.tenant not in {None, DEFAULT_TENANT}


def check_session(session: str) -> str:
    """Return the session.

    Raises:
        CommandError: this cannot be the name of a session.
    """
    if _SESSION.fullmatch(session):
        return session
    raise CommandError(Exit.USAGE, "a session has 1 to 128 characters of A-Z a-z 0-9 . _ -")


def named_turn(api: Api, session_or_run: str, index: int | None) -> NamedTurn:
    """Return the turn that the arguments of a command name. Without an index, it is the latest of the session.

    Raises:
        CommandError: they name no turn.
        Refused: there is no such session.
    """
    found = _RUN_ID.fullmatch(session_or_run)
    if found:
        if index is not None:
            raise CommandError(Exit.USAGE, "a run id names the index already: give one of them only")
        return NamedTurn(found[2], int(found[3]), found[1] or DEFAULT_TENANT)
    session = check_session(session_or_run)
    return NamedTurn(session, latest_index(api, session) if index is None else index)


def run_id(turn: NamedTurn, tenant: str) -> str:
    """Return the run id of a turn. `tenant`: of the credentials, if the turn names none."""
    of = turn.tenant or tenant
    scope = turn.session if of == DEFAULT_TENANT else f"{of}~{turn.session}"
    return f"chat:{scope}:{turn.index}"


def latest_index(api: Api, session: str) -> int:
    """Return the index of the session's latest turn, with few requests however many turns there are.

    Raises:
        Refused: there is no such session.
    """
    path = f"/v1/sessions/{part(session)}/turns"
    known = _first_after(api, path, None)
    assert known is not None, "a session without turns is answered with 404"
    step = 1
    while (found := _first_after(api, path, known + step - 1)) is not None:
        known, step = found, 2 * step
    while step > 1:
        step //= 2
        if (found := _first_after(api, path, known + step - 1)) is not None:
            known = found
    return known


def _first_after(api: Api, path: str, after: int | None) -> int | None:
    turns = api.get(path, after=after, limit=1)["turns"]
    return turns[0]["turn_index"] if turns else None
