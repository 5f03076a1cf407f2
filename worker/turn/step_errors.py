"""The reasons for which a step is refused. Each ends the turn with its own code, unless the producer catches it."""

from turnwire.shared.errors import TurnFailure


class DivergenceError(TurnFailure):
    """The producer asked for another step than an earlier attempt did at the same position."""

    code = "step_divergence"


class InputDriftError(DivergenceError):
    """The producer asked for the same step as an earlier attempt, but with other input."""

    code = "step_input_mismatch"


class MisplacedStepError(TurnFailure):
    """Another hook than `produce` asked for a signal, or the producer asked for a step after its own end."""

    code = "misplaced_step"


class NestedStepError(TurnFailure):
    """The work of a step asked for another step, a stream or a signal.

    Its position would depend on whether that work runs again.
    """

    code = "nested_step"


class StepResultError(TurnFailure):
    """A step's result, or its input, is not JSON; or (`step_too_large`) its result is larger than it may be."""

    code = "step_not_json"


class SignalTimeoutError(TurnFailure):
    """The signal that the turn waited for did not come in time. A producer may catch this error and continue."""

    code = "signal_timeout"
