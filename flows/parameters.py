"""What flows are asked for: types that Prefect's pages show as a form, with help, bounds and choices.

Prefect takes a parameter's help from the flow's docstring; its choices and bounds are checked by the server, before
there is a run. Called from Python, a flow checks the same by loading the profile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from prefect.runtime import flow_run
from pydantic import Field

from slipway.profile import Overrides, Profile, load_profile, overridden, profile_names

ProfileName = Annotated[str, Field(json_schema_extra={"enum": list(profile_names())})]
"""One of the profiles of this checkout: a choice in the form. Deploy anew after adding a profile."""

ProfileFile = Annotated[str, Field(pattern=r"^$|\.ya?ml$", max_length=1000)]
"""Path of a YAML file on the machine of the worker; empty: none."""

NOTHING: Final = Overrides()
"""No overrides."""

DEFAULT_PROFILE: Final = "miniature"


def chosen_profile(profile: str, profile_file: str, overrides: Overrides = NOTHING) -> Profile:
    """The profile that a run was started with.

    Raises:
        Misconfigured: If it does not exist, breaks a rule, or does so with what this run overrides.
    """
    return overridden(load_profile(profile_file or profile), overrides)


def run_name() -> str:
    """Name of a flow run: the flow's, and what it is about."""
    given = flow_run.parameters
    about = Path(given.get("profile_file") or given.get("profile") or DEFAULT_PROFILE).stem
    return f"{flow_run.flow_name}-{about}"
