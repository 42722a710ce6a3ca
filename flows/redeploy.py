"""Release a profile: sync, verify, precompile, deploy a candidate, warm it up, judge it, promote it.

    python -m flows.redeploy                  the miniature, on this machine
    slipway redeploy PROFILE                  the same with a progress display
    prefect deploy --all                      schedules and the UI's form, from prefect.yaml

The final state says how it ended: `Promoted`, `Rejected` (production untouched) or `RolledBack`.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.parameters import DEFAULT_PROFILE, NOTHING, ProfileFile, ProfileName, chosen_profile, run_name
from slipway.errors import SlipwayError
from slipway.preflight.plan import Plan, errors_among
from slipway.profile import Overrides, Profile
from slipway.records.capacity import show_range
from slipway.records.events import StageEvent, observed_by
from slipway.records.record import Outcome, ReleaseRecord
from slipway.stages.run import open_run
from tasks.candidate import deploy_candidate, warm_up
from tasks.gating import run_gates
from tasks.kernels import precompile_kernels
from tasks.planning import plan, plan_only
from tasks.release import conclude, conclude_failure, promote
from tasks.weights import sync_weights, verify_weights


@flow(name="redeploy", flow_run_name=run_name, persist_result=False)
def redeploy(
    profile: ProfileName = DEFAULT_PROFILE,
    profile_file: ProfileFile = "",
    overrides: Overrides = NOTHING,
    dry_run: bool = False,
) -> State[Any]:
    """Release a profile, or leave production exactly as it was.

    Args:
        profile: What to release: a profile that comes with the checkout. Its YAML file says what it is.
        profile_file: A profile of your own instead: path of a .yaml file on the worker's machine. Empty: none.
        overrides: What this run does differently from its profile. Empty fields change nothing.
        dry_run: Only plan: what would run and why, what it may cost, what is wrong. Users notice nothing.
    """
    try:
        chosen = chosen_profile(profile, profile_file, overrides)
        if dry_run:
            return planned_state(plan_only(chosen))
        record = release(chosen)
    except SlipwayError as error:
        return Failed(name=type(error).__name__, message=str(error))  # nothing was begun
    return final_state(record)


def release(profile: Profile) -> ReleaseRecord:
    """Every stage in order; whatever fails, production is as it was, and the record says why."""
    with observed_by(log_event), open_run(profile) as run:
        try:
            plan(run)
            sync_weights(run)
            verify_weights(run)
            precompile_kernels(run)
            candidate = deploy_candidate(run)
            warm_up(run, candidate)
            run_gates(run, candidate)
            promoted = promote(run, candidate)
        except BaseException as error:
            record = conclude_failure(run, error)
            if not isinstance(error, SlipwayError):
                raise  # cancelled, interrupted, or a defect: Prefect shall see it as what it is
        else:
            record = conclude(run, promoted)
    return record


def log_event(event: StageEvent) -> None:
    """Observer: the turns of a run in Prefect's log."""
    if event.kind != "progress":
        get_run_logger().info("%s %s %s", event.stage, event.kind, event.message)


def planned_state(made: Plan) -> State[Any]:
    """A plan, as the state that Prefect shows."""
    if errors := errors_among(made.findings):
        return Failed(name="Misconfigured", message="; ".join(f"{e.rule}: {e.message} {e.remedy}" for e in errors))
    cost = show_range(made.cost_least_usd, made.cost_usd)
    return Completed(name="Planned", message=f"it may cost {cost}; the plan is among the artifacts")


def final_state(record: ReleaseRecord) -> State[Any]:
    """How a run ended, as the state that Prefect shows."""
    match record.outcome:
        case Outcome.PROMOTED:
            return Completed(name="Promoted", message=record.reason)
        case Outcome.ROLLED_BACK:
            return Failed(name="RolledBack", message=record.reason)
        case _:
            return Failed(name="Rejected", message=record.reason)


if __name__ == "__main__":
    redeploy()
