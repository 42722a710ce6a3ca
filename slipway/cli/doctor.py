"""`slipway doctor`: what is not as a release needs it, what to do about each, and with `--fix` some of it done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import Annotated

import typer
from rich.text import Text

from flows.doctor import examine_prefect
from slipway.cli.output import err, friendly_errors, out, print_json, say, table, working
from slipway.errors import Misconfigured
from slipway.platforms.check import Check, Health
from slipway.profile import load_profile
from slipway.stages.doctor import examine_all
from slipway.stages.remains import Remains, clear, look_for_remains
from slipway.stages.surroundings import open_platform

UNWELL = 1
"""Exit code where a check failed."""

_COLOURS = {Health.OK: "green", Health.WARNING: "yellow", Health.FAILED: "red"}


def doctor(
    profile: Annotated[str, typer.Argument(help="Profile's name, or path of a YAML file.")] = "miniature",
    fix: Annotated[
        bool, typer.Option("--fix", help="First stop servers and close records that runs left when they died.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --fix: only say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The checks as JSON.")] = False,
) -> None:
    """Look at everything a release needs. Ends with 1 if something would keep it from going well."""
    with friendly_errors(as_json=as_json):
        if dry_run and not fix:
            raise Misconfigured("--dry-run is for --fix: looking changes nothing.", remedy="Leave it out.")
        done = _fix(profile, dry_run=dry_run) if fix else None
        checks = list(_shown(chain(examine_all(profile), examine_prefect())))
    if as_json:
        print_json(
            {"profile": profile, "checks": [asdict(check) for check in checks], "fixed": _as_json(done, dry_run)}
        )
    else:
        _show(checks, done, dry_run=dry_run)
    if any(check.health is Health.FAILED for check in checks):
        raise typer.Exit(UNWELL)


def _fix(name: str, *, dry_run: bool) -> Remains:
    """Clear away what dead runs left; in a dry run only look for it."""
    chosen = load_profile(name)
    platform = open_platform(chosen.platform)
    if not dry_run:
        return clear(platform, chosen.app)
    with platform.exclusive(chosen.app):
        return look_for_remains(platform, chosen.app)


def _shown(checks: Iterator[Check]) -> Iterator[Check]:
    """The checks, with a line on the terminal that says how far they are."""
    with working("looking at the profile", err) as tell:
        for number, check in enumerate(checks, 1):
            tell(f"{number} looked at, last: {check.name}")
            yield check


def _show(checks: list[Check], done: Remains | None, *, dry_run: bool) -> None:
    rows = [(check.name, Text(check.health, _COLOURS[check.health]), " ".join(check.seen.split())) for check in checks]
    table("looked at", "", "seen", rows=rows)
    for check in checks:
        if check.remedy:
            say(f"[{_COLOURS[check.health]}]{check.name}[/]:", check.remedy)
    if done is not None:
        verb = "would be" if dry_run else "were"
        out.print(f"{len(done.orphans)} servers {verb} stopped, {len(done.unfinished)} records {verb} closed")
    count = sum(check.health is Health.FAILED for check in checks)
    say("[green]nothing keeps a release from going well[/]" if not count else f"[red]{count} failed[/]")


def _as_json(done: Remains | None, dry_run: bool) -> dict[str, object] | None:
    if done is None:
        return None
    stopped = [deployment.deployment_id for deployment in done.orphans]
    return {"dry_run": dry_run, "stopped": stopped, "closed": list(done.unfinished)}
