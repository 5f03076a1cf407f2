"""The spans of steps. A step that is taken from its checkpoint has none, because nothing runs."""

from turnwire.shared.model import StepRecord
from turnwire.shared.tracing import NO_SPAN, Span, tracing


def step_span(run: StepRecord) -> Span:
    """Begin the span of one run of a step."""
    if not tracing.on:
        return NO_SPAN
    name = f"step {run.intent}"
    attributes: dict[str, str | int] = {"turnwire.step.kind": run.kind, "turnwire.step.runs": run.attempts}
    if run.index != -1:  # the worker's own steps get their position when they are stored
        attributes["turnwire.step.position"] = str(run.index)
    return tracing.begin(name, attributes)


def hook_span(hook: str) -> Span:
    """Begin the span of a hook whose result is not stored."""
    return tracing.begin(f"step {hook}", {}) if tracing.on else NO_SPAN
