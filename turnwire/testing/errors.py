"""What the kit raises when it is used in a way that can only be a mistake in the test."""

from turnwire.shared.errors import TurnwireError


class WrongUse(TurnwireError):
    """Base of the kit's own errors."""

    code = "wrong_use"


class NotHooks(WrongUse):
    """What was given as hooks has no `produce`, is a class, or makes something that has no `produce`."""

    code = "not_hooks"


class SignalNeverAsked(WrongUse):
    """A signal was given for which the turn never waited."""

    code = "signal_never_asked"


class CrashPointNeverReached(WrongUse):
    """A crash was planted at a write that the turn never made."""

    code = "crash_point_never_reached"


class TurnNeverEnds(WrongUse):
    """The turn was run very often and goes on."""

    code = "turn_never_ends"
