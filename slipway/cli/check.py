"""`slipway watch` and `slipway keep-warm`: what is done with a release that serves."""

from __future__ import annotations

from typing import Annotated

import typer

from slipway.cli.output import friendly_errors, out, print_json, say, working
from slipway.errors import Crashed
from slipway.platforms.port import Progress
from slipway.profile import Profile, load_profile
from slipway.records.check import Condition
from slipway.stages.keep_warm import keep_warm as warm
from slipway.stages.surroundings import open_platform
from slipway.stages.watch import watch as observe

ProfileArgument = Annotated[str, typer.Argument(help="Profile's name, or path of a YAML file.")]
GOOD = {Condition.HEALTHY, Condition.SUPERSEDED}


def watch(
    profile: ProfileArgument = "miniature",
    duration_s: Annotated[
        float | None, typer.Option("--for", min=1, max=86400, help="Seconds; the profile's by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The record of the watch as JSON.")] = False,
) -> None:
    """Ask what serves for a while, and roll back if it goes wrong. Ends with 3 if it did."""
    with friendly_errors(as_json=as_json):
        chosen = _lasting(load_profile(profile), duration_s)
        with working("watching") as tell:

            def show(progress: Progress) -> None:
                tell(f"watching: {progress.done:.0f} of {progress.total or 0:.0f} s, {progress.note}")

            check = observe(open_platform(chosen.platform), chosen, progress=show)
    if as_json:
        print_json(check.model_dump(mode="json"))
    else:
        say(f"[bold]{check.condition.value.replace('_', ' ')}[/]:", check.reason)
    if check.condition not in GOOD:
        raise typer.Exit(Crashed.exit_code)


def _lasting(profile: Profile, duration_s: float | None) -> Profile:
    if duration_s is None:
        return profile
    return profile.model_copy(update={"watch": profile.watch.model_copy(update={"duration_s": duration_s})})


def keep_warm(
    profile: ProfileArgument = "miniature",
    as_json: Annotated[bool, typer.Option("--json", help="What was found, as JSON.")] = False,
) -> None:
    """Ask what serves for one short answer, so that a replica stays; says what that costs."""
    with friendly_errors(as_json=as_json):
        chosen = load_profile(profile)
        found = warm(open_platform(chosen.platform), chosen)
    if as_json:
        print_json({"release_id": found.release_id, "took_s": found.took_s, "stays_s": found.stays_s})
    else:
        out.print(str(found), soft_wrap=True)
