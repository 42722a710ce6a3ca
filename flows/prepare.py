"""Bring one part of a release to the platform, without releasing: the weights, or the engine's kernels.

For when only that part changed, or to have the long work done before a window. A release that follows finds it there.
"""

from functools import partial
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows import states
from flows.conduct import Conclusion, carry_out, clean_up
from flows.parameters import DEFAULT_PROFILE, NOTHING, ProfileFile, ProfileName, chosen_profile, run_name
from slipway.profile import Overrides
from slipway.stages.names import Stage
from slipway.stages.run import Run
from tasks import kernels, weights
from tasks.planning import plan
from tasks.release import conclude_prepared


@flow(
    name="sync-weights",
    flow_run_name=run_name,
    persist_result=False,
    on_cancellation=[clean_up],
    on_crashed=[clean_up],
)
@states.told_by_state
def sync_weights(
    profile: ProfileName = DEFAULT_PROFILE, profile_file: ProfileFile = "", overrides: Overrides = NOTHING
) -> State[Any]:
    """Fetch a profile's weights into the volume and prove every byte. Users notice nothing; no GPU is used.

    Args:
        profile: Whose weights: a profile that comes with the checkout.
        profile_file: A profile of your own instead: path of a .yaml file on the worker's machine. Empty: none.
        overrides: What this run does differently: another commit, for instance.
    """
    return states.of_release(carry_out(chosen_profile(profile, profile_file, overrides), bring_weights))


def bring_weights(run: Run) -> Conclusion:
    """The stages up to verified weights."""
    _bring_weights(run, last=Stage.VERIFY)
    return partial(conclude_prepared, run, "the weights are in the volume, every byte as published")


@flow(
    name="precompile",
    flow_run_name=run_name,
    persist_result=False,
    on_cancellation=[clean_up],
    on_crashed=[clean_up],
)
@states.told_by_state
def precompile(
    profile: ProfileName = DEFAULT_PROFILE, profile_file: ProfileFile = "", overrides: Overrides = NOTHING
) -> State[Any]:
    """Compile the kernels that a profile's engine needs, on its GPUs, after bringing its weights.

    Args:
        profile: Whose kernels: a profile that comes with the checkout.
        profile_file: A profile of your own instead: path of a .yaml file on the worker's machine. Empty: none.
        overrides: What this run does differently: another image, for instance.
    """
    return states.of_release(carry_out(chosen_profile(profile, profile_file, overrides), bring_kernels))


def bring_kernels(run: Run) -> Conclusion:
    """The stages up to a kernel cache."""
    _bring_weights(run, last=Stage.PRECOMPILE)
    kernels.precompile_kernels(run)
    return partial(conclude_prepared, run, f"the kernels of key {run.kernel_key.digest[:12]} are in their volume")


def _bring_weights(run: Run, *, last: Stage) -> None:
    plan(run, last)
    weights.sync_weights(run)
    weights.verify_weights(run)
