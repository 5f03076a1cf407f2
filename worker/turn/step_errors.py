"""Why a step is refused. Each ends the turn with its own code, unless the producer catches it."""

from turnwire.shared.errors import TurnFailure


class DivergenceError(TurnFailure):
    """The producer asked for another step than an earlier attempt did at the same position."""

    code = "step_divergence"


class InputDriftError(DivergenceError):
    """The same step, but with other input."""

    code = "step_input_mismatch"


class MisplacedStepError(TurnFailure):
    """A signal in another hook than `produce`, or a step of the producer after its end."""

    code = "misplaced_step"


class NestedStepError(TurnFailure):
    """A step's own work asked for a step, a stream or a signal. Its position would depend on whether that work runs."""

    code = "nested_step"


class StepResultError(TurnFailure):
    """A step's result, or its input, is not JSON; or (`step_too_large`) its result is larger than it may be."""

    code = "step_not_json"


class SignalTimeoutError(TurnFailure):
    """The signal that a turn waited for did not come in time. A producer may catch it and go on."""

    code = "signal_timeout"
