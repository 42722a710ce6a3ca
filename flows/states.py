"""How runs end, as the states that Prefect shows. Their names are what automations go by."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.output import outlive_readers
from slipway.errors import SlipwayError
from slipway.preflight.plan import Plan, errors_among
from slipway.records.capacity import show_range
from slipway.records.check import CheckRecord, Condition
from slipway.records.record import Outcome, ReleaseRecord

Arguments = ParamSpec("Arguments")
Body = Callable[Arguments, State[Any]]


def told_by_state(body: Body[Arguments]) -> Body[Arguments]:
    """A flow's body whose errors are final states named by their class, without a traceback: `Busy`, `Crashed`.

    Prefect reads the types of its parameters in this module's place, so they must be no strings: modules of flows do
    without `from __future__ import annotations`.
    """

    @wraps(body)
    def told(*args: Arguments.args, **kwargs: Arguments.kwargs) -> State[Any]:
        outlive_readers()
        try:
            return body(*args, **kwargs)
        except SlipwayError as error:
            return Failed(name=type(error).__name__, message=str(error))

    return told


def of_release(record: ReleaseRecord) -> State[Any]:
    """How a release ended."""
    match record.outcome:
        case Outcome.PROMOTED | Outcome.PREPARED:
            return Completed(name=record.outcome.value.title(), message=record.reason)
        case Outcome.ROLLED_BACK:
            return Failed(name="RolledBack", message=record.reason)
        case _:
            return Failed(name="Rejected", message=record.reason)


def of_plan(made: Plan) -> State[Any]:
    """What a dry run found."""
    if errors := errors_among(made.findings):
        return Failed(name="Misconfigured", message="; ".join(f"{e.rule}: {e.message} {e.remedy}" for e in errors))
    cost = show_range(made.cost_least_usd, made.cost_usd)
    return Completed(name="Planned", message=f"it may cost {cost}; the plan is among the artifacts")


def of_check(check: CheckRecord) -> State[Any]:
    """What a check of the live release found."""
    match check.condition:
        case Condition.HEALTHY | Condition.UNDECIDED | Condition.SUPERSEDED:
            return Completed(name=check.condition.value.title(), message=check.reason)
        case Condition.ROLLED_BACK:
            return Failed(name="RolledBack", message=check.reason)
        case _:
            return Failed(name="Unhealthy", message=check.reason)
