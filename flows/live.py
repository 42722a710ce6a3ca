"""Look at what serves: `gate` judges it as a candidate would be, `watch` asks it for a while and takes it back."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows import events, states
from flows.parameters import DEFAULT_PROFILE, ProfileFile, ProfileName, chosen_profile, run_name
from slipway.records.check import CheckRecord
from tasks import check


@flow(name="gate", flow_run_name=run_name, persist_result=False)
@states.told_by_state
def gate(profile: ProfileName = DEFAULT_PROFILE, profile_file: ProfileFile = "") -> State[Any]:
    """Judge the live release by its profile's gates: has it drifted, has it become worse? Releases nothing.

    Args:
        profile: Whose app and gates: a profile that comes with the checkout.
        profile_file: A profile of your own instead: path of a .yaml file on the worker's machine. Empty: none.
    """
    return _told(check.gate_live(chosen_profile(profile, profile_file)))


@flow(name="watch", flow_run_name=run_name, persist_result=False)
@states.told_by_state
def watch(profile: ProfileName = DEFAULT_PROFILE, profile_file: ProfileFile = "") -> State[Any]:
    """Watch the live release for errors and hangs, for as long as its profile says; roll back if it goes wrong.

    Args:
        profile: Whose app, and how it is watched: a profile that comes with the checkout.
        profile_file: A profile of your own instead: path of a .yaml file on the worker's machine. Empty: none.
    """
    return _told(check.watch(chosen_profile(profile, profile_file)))


def _told(found: CheckRecord) -> State[Any]:
    events.of_check(found)
    return states.of_check(found)
