"""The refusals of requests whose credentials do not suffice."""

from typing import Final

from turnwire.shared.errors import TurnwireError

INVALID: Final = "the credentials are not valid"  # all that a refusal says of credentials that are wrong


class Unauthenticated(TurnwireError):
    """The request has no credentials, or not valid ones. `presented`: whether it had any."""

    code = "unauthenticated"

    def __init__(self, message: str, *, presented: bool = True) -> None:
        super().__init__(message)
        self.presented = presented


class Forbidden(TurnwireError):
    """The credentials are valid, but do not allow this."""

    code = "forbidden"


class KeysUnavailable(TurnwireError):
    """The credentials cannot be checked now, because the keys of the identity provider cannot be fetched."""

    code = "keys_unavailable"
    retryable = True
    retry_after_s = 5.0
