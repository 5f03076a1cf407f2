"""The errors of the kit. Each says that the kit is used in a way that can only be a mistake in the test."""

from turnwire.shared.errors import TurnwireError


class WrongUse(TurnwireError):
    """The base class of the kit's own errors."""

    code = "wrong_use"


class NotHooks(WrongUse):
    """The object that was given as hooks has no `produce` of its own, and does not make an object that has one."""

    code = "not_hooks"


class SignalNeverAsked(WrongUse):
    """A signal was given for which the turn never waited."""

    code = "signal_never_asked"


class CrashPointNeverReached(WrongUse):
    """A crash was planted at a write that the turn never made."""

    code = "crash_point_never_reached"


class CancelNeverCame(WrongUse):
    """A cancel was planned after more events than the producer yielded."""

    code = "cancel_never_came"


class TurnNeverEnds(WrongUse):
    """The turn was run a thousand times and has not ended."""

    code = "turn_never_ends"
