"""Whether and when a failed step is tried again: decided by the error's class, never by its words."""

from __future__ import annotations

from novafleet.errors import NovaFleetError, Retry
from novafleet.model.plan import Step, StepClass

FIRST_PAUSE = {Retry.NOW: 0.1, Retry.LATER: 1.0}
LONGEST_PAUSE = 30.0


def pause(step: Step, error: NovaFleetError, failures: int) -> float | None:
    """Seconds before the next attempt after ``failures`` failed ones; None when there is to be none.

    The pause doubles each time. A ``once`` step is never repeated: nobody knows how far it came.
    """
    first = FIRST_PAUSE.get(error.retry)
    if first is None or failures > step.retries or step.step_class is StepClass.ONCE:
        return None
    return min(LONGEST_PAUSE, first * 2.0 ** (failures - 1))


def outcome_unknown(step: Step, error: NovaFleetError) -> bool:
    """A lost connection or a deadline says nothing about the effect; only ``once`` steps cannot find out."""
    return step.step_class is StepClass.ONCE and error.retry in FIRST_PAUSE
