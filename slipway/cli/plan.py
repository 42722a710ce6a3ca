"""`slipway plan`: what a release would do and why, what it would cost and carry, at no cost."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from slipway.cli.output import friendly_errors, out, print_json, say, table
from slipway.errors import Misconfigured, SlipwayError
from slipway.files import write_atomic
from slipway.preflight.capacity import Capacity
from slipway.preflight.plan import Finding, Plan, Severity, errors_among
from slipway.profile import Profile, load_profile
from slipway.records import capacity as shown
from slipway.stages.forecast import plan_without_platform
from slipway.stages.names import Stage

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "blue"}


def plan(
    profile: Annotated[str, typer.Argument(help="Profile's name, or path of a YAML file.")] = "miniature",
    revision: Annotated[str | None, typer.Option(help="Commit of the weights to release instead.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask neither platform nor Hub.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Draw one GPU's memory into this SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The plan as JSON.")] = False,
) -> None:
    """Say which stages would run, what they cost and what is wrong. Ends with 2 if something forbids the run."""
    with friendly_errors(as_json=as_json):
        chosen = load_profile(profile, revision=revision)
        made = plan_without_platform(chosen) if offline else _make(chosen)
        if picture is not None:
            _draw(made.capacity, picture)
        _print(chosen, made, as_json=as_json)
        if errors_among(made.findings):
            raise typer.Exit(2)


def show_plan(profile: Profile, *, last: Stage = Stage.PROMOTE, as_json: bool) -> Plan:
    """Make the plan of a profile, up to the last stage that runs, and print it."""
    made = _make(profile).until(last)
    _print(profile, made, as_json=as_json)
    return made


def _make(profile: Profile) -> Plan:
    """The plan; one in which nothing is known to be there where platform or Hub cannot be seen from here."""
    planning = import_module("slipway.stages.planning")  # the Hub's client takes half a second
    try:
        return Plan.model_validate(planning.plan_of(profile))
    except SlipwayError as error:
        return plan_without_platform(profile, error)


def _print(profile: Profile, made: Plan, *, as_json: bool) -> None:
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    rows = [shown.step_row(step) for step in made.steps]
    table(*shown.STEP_COLUMNS, rows=rows, title=f"{profile.name}: {profile.description}")
    out.print(
        f"lasts {shown.show_span(made.lasts_least_s, made.lasts_most_s) or 'as long as it takes'}; "
        f"cost {shown.show_range(made.cost_least_usd, made.cost_usd)}; now live: {made.live_version or 'nothing'}"
    )
    if made.image is not None:
        out.print(f"image {made.image}", soft_wrap=True)
    if made.changes:
        table(*shown.CHANGE_COLUMNS, rows=shown.change_rows(made), title=f"against version {made.live_version}")
    if made.capacity is not None:
        _show_capacity(made.capacity)
    for finding in made.findings:
        show_finding(finding)


def _show_capacity(capacity: Capacity) -> None:
    table(*shown.MEMORY_COLUMNS, rows=shown.memory_rows(capacity))
    out.print(shown.capacity_facts(capacity))
    table(*shown.FIT_COLUMNS, rows=shown.fit_rows(capacity))
    out.print(shown.ttft_facts(capacity))
    table(*shown.LIMIT_COLUMNS, rows=shown.limit_rows(capacity))


def show_finding(finding: Finding) -> None:
    """A finding on a line of its own."""
    mark = f"[bold {_COLOURS[finding.severity]}]{shown.severity_word(finding)}[/] {finding.rule}:"
    say(mark, f"{finding.message} {shown.waived(finding) or finding.remedy}")


def _draw(capacity: Capacity | None, path: Path) -> None:
    if capacity is None:
        raise Misconfigured(
            "There is no memory to draw: the model's shape or the GPU is not known.",
            remedy="docs/capacity.md says which are; leave --picture out.",
        )
    from slipway.records.plots.memory import memory_svg  # noqa: PLC0415 - matplotlib takes a second, and only here

    try:
        write_atomic(path, memory_svg(capacity))
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error}.", remedy="Name a file in a directory.") from None
