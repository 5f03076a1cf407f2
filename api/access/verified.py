"""What the verification of a token gives, and the refusals that stand for each way in which it can fail."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import jwt
import msgspec

from turnwire.api.access.errors import INVALID, Unauthenticated
from turnwire.api.access.identity import Identity

EXPIRED: Final = "the token has expired"
LEEWAY_S: Final = 30  # by which the clocks of this machine and of the one that made a token may differ


class Verified(msgspec.Struct, frozen=True):
    """Who presents a valid token, and until when it is valid, in seconds since 1970.

    `by_provider`: the token is one of the identity provider, not one of ours. `id`: its `jti`; None: it has none.
    `issued_s`: its `iat`; one without counts as issued long ago.
    """

    identity: Identity
    expires_s: float
    by_provider: bool
    id: str | None = None
    issued_s: float = 0.0


@contextmanager
def verification() -> Generator[None]:
    """Turn what the library raises for a token into Unauthenticated. Its own words may quote the token."""
    try:
        yield
    except jwt.ExpiredSignatureError:
        raise Unauthenticated(EXPIRED) from None
    except (jwt.PyJWTError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        raise Unauthenticated(INVALID) from None


def header_of(token: str) -> dict[str, object]:
    """Return the header of a token, which nobody has verified.

    Raises:
        Unauthenticated: this is not a JSON web token, or it has an extension that must be understood (`crit`).
    """
    with verification():
        header: dict[str, object] = jwt.get_unverified_header(token)
    if "crit" in header:  # the library looks at it only since 2.12
        raise Unauthenticated(INVALID)
    return header
