"""Release a profile: sync, verify, precompile, deploy a candidate, warm it up, judge it, promote it.

    python -m flows.redeploy                  the miniature, on this machine
    slipway redeploy PROFILE                  the same with a progress display
    make prefect                              schedules and the UI's form, from prefect.yaml

The final state says how it ended: `Promoted`, `Rejected` (production untouched) or `RolledBack`.
"""

from functools import partial
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows import states
from flows.approval import ApprovalChoice, ask_for_approval
from flows.conduct import Conclusion, carry_out, clean_up
from flows.parameters import DEFAULT_PROFILE, NOTHING, ProfileFile, ProfileName, chosen_profile, run_name
from slipway.profile import Overrides
from slipway.stages.run import Run
from tasks.candidate import deploy_candidate, warm_up
from tasks.gating import run_gates
from tasks.kernels import precompile_kernels
from tasks.planning import plan, plan_only
from tasks.release import conclude, promote
from tasks.weights import sync_weights, verify_weights


@flow(
    name="redeploy",
    flow_run_name=run_name,
    persist_result=False,
    on_cancellation=[clean_up],
    on_crashed=[clean_up],
)
@states.told_by_state
def redeploy(
    profile: ProfileName = DEFAULT_PROFILE,
    profile_file: ProfileFile = "",
    overrides: Overrides = NOTHING,
    approval: ApprovalChoice = "as the profile says",
    dry_run: bool = False,
) -> State[Any]:
    """Release a profile, or leave production exactly as it was.

    Args:
        profile: What to release: a profile that comes with the checkout. Its YAML file says what it is.
        profile_file: A profile of your own instead: path of a .yaml file on the worker's machine. Empty: none.
        overrides: What this run does differently from its profile. Empty fields change nothing.
        approval: Whether somebody decides before users are switched. Never: what would need it is rejected.
        dry_run: Only plan: what would run and why, what it may cost, what is wrong. Users notice nothing.
    """
    chosen = chosen_profile(profile, profile_file, overrides)
    if dry_run:
        return states.of_plan(plan_only(chosen))
    return states.of_release(carry_out(chosen, partial(release, approval=approval)))


def release(run: Run, *, approval: ApprovalChoice) -> Conclusion:
    """Every stage in order."""
    plan(run)
    sync_weights(run)
    verify_weights(run)
    precompile_kernels(run)
    candidate = deploy_candidate(run)
    warm_up(run, candidate)
    run_gates(run, candidate)
    ask_for_approval(run, candidate, approval)
    promoted = promote(run, candidate)
    return partial(conclude, run, promoted)


if __name__ == "__main__":
    redeploy()
