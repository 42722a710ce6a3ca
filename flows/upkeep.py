"""What else is done to an app: roll it back, keep it warm, make room, take it down."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from flows import states
from flows.parameters import DEFAULT_PROFILE, ProfileFile, ProfileName, chosen_profile, run_name
from tasks import upkeep


@flow(name="rollback", flow_run_name=run_name, persist_result=False)
@states.told_by_state
def rollback(
    version: Annotated[int, Field(ge=1)],
    profile: ProfileName = DEFAULT_PROFILE,
    profile_file: ProfileFile = "",
) -> State[Any]:
    """Serve an explicit earlier version again. Makes a new version; nothing is lost.

    Args:
        version: Which version shall serve again; `slipway runs` lists them.
        profile: Whose app: a profile that comes with the checkout.
        profile_file: A profile of your own instead: path of a .yaml file on the worker's machine. Empty: none.
    """
    chosen = chosen_profile(profile, profile_file)
    release = upkeep.roll_back(chosen, version)
    return Completed(
        name="RolledBack", message=f"{release.release_id} serves: version {release.version}, as {version} did"
    )


@flow(name="keep-warm", flow_run_name=run_name, persist_result=False)
@states.told_by_state
def keep_warm(profile: ProfileName = DEFAULT_PROFILE, profile_file: ProfileFile = "") -> State[Any]:
    """Ask the live release for one short answer, so that a replica stays. It costs what a replica costs.

    Args:
        profile: Whose app: a profile that comes with the checkout.
        profile_file: A profile of your own instead: path of a .yaml file on the worker's machine. Empty: none.
    """
    return Completed(name="Warm", message=str(upkeep.keep_warm(chosen_profile(profile, profile_file))))


@flow(name="prune", flow_run_name=run_name, persist_result=False)
@states.told_by_state
def prune(
    profile: ProfileName = DEFAULT_PROFILE,
    profile_file: ProfileFile = "",
    keep: Annotated[int, Field(ge=0, le=1000)] = 3,
    dry_run: bool = False,
) -> State[Any]:
    """Remove old weights from the volume. Those that serve, or would after a roll back, are never removed.

    Args:
        profile: Whose volume: a profile that comes with the checkout.
        profile_file: A profile of your own instead: path of a .yaml file on the worker's machine. Empty: none.
        keep: How many revisions stay, the ones that were verified last.
        dry_run: Only say which would be removed.
    """
    return Completed(name="Pruned", message=upkeep.prune(chosen_profile(profile, profile_file), keep, dry_run=dry_run))


@flow(name="teardown", flow_run_name=run_name, persist_result=False)
@states.told_by_state
def teardown(
    confirm: Annotated[str, Field(max_length=50)],
    profile: ProfileName = DEFAULT_PROFILE,
    profile_file: ProfileFile = "",
) -> State[Any]:
    """End everything that serves an app: users get errors until the next release. Volumes and records stay.

    Args:
        confirm: The app's name, as a sign that you mean it.
        profile: Whose app: a profile that comes with the checkout.
        profile_file: A profile of your own instead: path of a .yaml file on the worker's machine. Empty: none.
    """
    chosen = chosen_profile(profile, profile_file)
    if confirm != chosen.app:
        return Failed(name="Misconfigured", message=f"confirm is {confirm!r}, but the app is {chosen.app!r}.")
    return Completed(name="Stopped", message=f"{len(upkeep.stop(chosen))} server(s) of {chosen.app} stopped")
