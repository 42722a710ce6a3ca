"""`slipway redeploy`: release a profile, watching it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer

from flows import server
from slipway.cli.approval import ask_in_terminal
from slipway.cli.conducted import run_and_exit
from slipway.cli.output import friendly_errors
from slipway.cli.plan import show_plan
from slipway.errors import Misconfigured
from slipway.profile import load_profile, overridden, parse_overrides
from slipway.stages.approval import asked_by, nobody


class Ask(StrEnum):
    """Whether somebody decides before users are switched."""

    PROFILE = "as the profile says"
    ALWAYS = "always"
    NEVER = "never"


def redeploy(  # noqa: PLR0913 - one parameter for each option: typer reads them from the signature
    profile: Annotated[str, typer.Argument(help="Profile's name, or path of a YAML file.")] = "miniature",
    *,
    revision: Annotated[str | None, typer.Option(help="Commit of the weights to release instead.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image of the engine to use instead.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="Another limit, GATE:at_most=VALUE; may be repeated.", metavar="LIMIT")
    ] = None,
    max_cost_usd: Annotated[float | None, typer.Option(help="Budget of this run in US dollars.")] = None,
    max_run_s: Annotated[float | None, typer.Option(help="Deadline of this run in seconds.")] = None,
    strategy: Annotated[str | None, typer.Option(help="`candidate`, or `in_place` of the live release.")] = None,
    approval: Annotated[
        Ask, typer.Option(help="Whether somebody decides before users are switched; never: what needs it is rejected.")
    ] = Ask.PROFILE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Events and the record as JSON lines.")] = False,
) -> None:
    """Release a profile: promoted (exit 0), rejected (1), wrong configuration (2), infrastructure (3)."""
    with friendly_errors(as_json=as_json):
        overrides = parse_overrides(
            revision=revision,
            image=image,
            limits=[parse_limit(given) for given in limit or ()],
            max_cost_usd=max_cost_usd,
            max_run_s=max_run_s,
            strategy=strategy,
        )
        chosen = overridden(load_profile(profile), overrides)
        if dry_run:
            show_plan(chosen, as_json=as_json)
            return
        with _asking(approval, as_json=as_json):
            run_and_exit(
                "redeploy:redeploy", profile, chosen, as_json=as_json, overrides=overrides, approval=approval.value
            )


def parse_limit(text: str) -> dict[str, str]:
    """`ttft_s.p50@chat:at_most=0.4` as the fields of a `Limit`.

    Raises:
        Misconfigured: If it is written otherwise.
    """
    found = re.fullmatch(r"(?P<gate>[^:]+):(?P<kind>at_most|at_least|worse_by)=(?P<value>[^=]+)", text)
    if found is None:
        raise Misconfigured(
            f"The limit {text!r} cannot be read.",
            remedy="Write GATE:at_most=VALUE, GATE:at_least=VALUE or GATE:worse_by=SHARE, as in "
            "`ttft_s.p50@chat:at_most=0.4`.",
        )
    return {"gate": found["gate"], found["kind"]: found["value"]}


@contextmanager
def _asking(approval: Ask, *, as_json: bool) -> Iterator[None]:
    """Who is asked for approval: whoever sits at this terminal, else whoever looks at Prefect's pages.

    Where there is neither, nobody: a pipeline shall not wait for an hour. Who asks for it by `--approval always` has
    somebody who answers by `slipway approve`.
    """
    if sys.stdin.isatty() and not as_json:
        with asked_by(ask_in_terminal):
            yield
    elif server.is_configured() or approval is Ask.ALWAYS:
        yield
    else:
        with asked_by(nobody):
            yield
