"""`slipway precompile`: bring weights and compile kernels ahead of a release, watching it."""

from __future__ import annotations

from typing import Annotated

import typer

from slipway.cli.conducted import run_and_exit
from slipway.cli.output import friendly_errors
from slipway.cli.plan import show_plan
from slipway.profile import load_profile, overridden, parse_overrides
from slipway.stages.names import Stage


def precompile(
    profile: Annotated[str, typer.Argument(help="Profile's name, or path of a YAML file.")] = "miniature",
    *,
    revision: Annotated[str | None, typer.Option(help="Commit of the weights to use instead.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image of the engine to use instead.")] = None,
    max_cost_usd: Annotated[float | None, typer.Option(help="Budget of this run in US dollars.")] = None,
    max_run_s: Annotated[float | None, typer.Option(help="Deadline of this run in seconds.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Events and the record as JSON lines.")] = False,
) -> None:
    """Bring the weights and compile the kernels of a profile, without releasing; exit codes as of `redeploy`."""
    with friendly_errors(as_json=as_json):
        overrides = parse_overrides(revision=revision, image=image, max_cost_usd=max_cost_usd, max_run_s=max_run_s)
        chosen = overridden(load_profile(profile), overrides)
        if dry_run:
            show_plan(chosen, last=Stage.PRECOMPILE, as_json=as_json)
            return
        run_and_exit("prepare:precompile", profile, chosen, as_json=as_json, overrides=overrides)
