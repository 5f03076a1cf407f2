"""The exit codes of `turnwire`, and the error that ends a command with one of them. docs/cli.md lists the codes."""

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended. The numbers are a promise to scripts."""

    OK = 0
    FAILED = 1  # the turn failed, the API refused the request, or a check found a fault
    USAGE = 2  # the command line, or a setting, is wrong
    UNREACHABLE = 3  # no API answers, or the API cannot reach its store
    DENIED = 4  # the credentials are missing or not valid, or they do not allow this
    INTERRUPTED = 130  # Ctrl-C


class CommandError(Exception):
    """Ends the command with one line that says why. `hint`: what the user can do about it; may be empty."""

    def __init__(self, code: Exit, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.hint = hint
