"""`slipway runs`, `slipway show` and `slipway compare`: what was released, how it went, and what became of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

from slipway.cli.output import friendly_errors, out, print_json, say, table
from slipway.errors import Misconfigured
from slipway.files import write_atomic
from slipway.gates.verdict import show_figure
from slipway.records import compare_rows, history
from slipway.records.compare import compare as compared
from slipway.records.history import TrendPoint
from slipway.records.ledger import Ledger
from slipway.records.record import Outcome, ReleaseRecord
from slipway.records.report import plan_table, report
from slipway.stages.surroundings import open_platform
from slipway.units import show_seconds, show_usd

PlatformOption = Annotated[str, typer.Option("--platform", help="Whose ledger.")]
ReleaseArgument = Annotated[str, typer.Argument(help="Release, or `latest`.")]


def runs(  # noqa: PLR0913 - one parameter for each option: typer reads them from the signature
    *,
    app: Annotated[str | None, typer.Option("--app", help="Only this app's.")] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Only those that ended so.")] = None,
    since: Annotated[str | None, typer.Option(help="Only those since a date (2026-11-22) or an age (12h, 7d).")] = None,
    last: Annotated[int, typer.Option(min=1, help="How many of them, the newest.")] = 20,
    trend: Annotated[
        str | None, typer.Option(metavar="FIGURE", help="How a figure moved, e.g. ttft_s.p50@chat, cost_usd.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the trend into this SVG file.")] = None,
    platform: PlatformOption = "local",
    as_csv: Annotated[bool, typer.Option("--csv", help="All figures of each run, as CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Records as JSON; with --trend its points.")] = False,
) -> None:
    """List runs, newest first, or show how a figure moved from release to release."""
    with friendly_errors(as_json=as_json):
        if plot is not None and trend is None:
            raise Misconfigured("There is nothing to draw.", remedy="Name a figure with --trend.")
        moment = history.parse_since(since) if since else None
        records = history.chosen(Ledger(open_platform(platform)).records(app), outcome=outcome, since=moment, last=last)
        if trend is not None:
            _show_trend(trend, history.trend(records, trend), plot, as_json=as_json)
        elif as_json:
            print_json([record.model_dump(mode="json") for record in reversed(records)])
        elif as_csv:
            history.frame(records).to_csv(sys.stdout, index=False)
        else:
            _show_runs(records[::-1])


def show(
    release_id: ReleaseArgument = "latest",
    platform: PlatformOption = "local",
    as_json: Annotated[bool, typer.Option("--json", help="The record as JSON.")] = False,
) -> None:
    """Show the whole record of one run."""
    with friendly_errors(as_json=as_json):
        record = named(Ledger(open_platform(platform)), release_id)
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        out.print(Markdown(report(record) + "\n## Plan\n\n" + plan_table(record)))


def compare(
    before: Annotated[str, typer.Argument(help="First release.")],
    now: ReleaseArgument = "latest",
    platform: PlatformOption = "local",
    as_json: Annotated[bool, typer.Option("--json", help="All differences as JSON.")] = False,
) -> None:
    """Put two releases beside each other: figures that compare, verdicts, what was changed, cost."""
    with friendly_errors(as_json=as_json):
        ledger = Ledger(open_platform(platform))
        found = compared(named(ledger, before), named(ledger, now))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    say(f"[bold]{found.before}[/] beside [bold]{found.now}[/]")
    for title, columns, rows in (
        ("figures", compare_rows.FIGURE_COLUMNS, compare_rows.figure_rows(found)),
        ("gates decided otherwise", compare_rows.VERDICT_COLUMNS, compare_rows.verdict_rows(found)),
        ("what was changed", compare_rows.DIFFERENCE_COLUMNS, compare_rows.difference_rows(found)),
        ("time and cost", compare_rows.STAGE_COLUMNS, compare_rows.stage_rows(found)),
    ):
        if rows:
            table(*columns, rows=rows, title=title)
        else:
            say(f"{title}: none")


def named(ledger: Ledger, release_id: str) -> ReleaseRecord:
    """A record by its release's id, or the newest as `latest`.

    Raises:
        Misconfigured: If there is none of that name.
    """
    ids = ledger.ids() if release_id == "latest" else []
    return ledger.load(ids[-1] if ids else release_id)


def _show_runs(records: Sequence[ReleaseRecord]) -> None:
    rows = [
        (
            r.release_id,
            r.outcome.value.replace("_", " "),
            str(r.version or ""),
            show_seconds(r.took_s) if r.took_s is not None else "",
            show_usd(r.cost_usd),
            r.reason,
        )
        for r in records
    ]
    table("release", "outcome", "version", "took", "cost", "reason", rows=rows)


def _show_trend(figure: str, points: Sequence[TrendPoint], plot: Path | None, *, as_json: bool) -> None:
    if plot is not None:
        _draw(figure, points, plot)
    if as_json:
        print_json(list(points))
        return
    rows = [
        (
            point.release_id,
            point.outcome.value.replace("_", " "),
            show_figure(figure, point.value),
            _bounds(figure, point),
            "" if compares else "does not compare with the one above",
        )
        for point, compares in zip(points, history.joined(points), strict=True)
    ]
    table("release, oldest first", "outcome", figure, "bounds", "", rows=rows)
    out.print(history.sparkline([point.value for point in points]))


def _bounds(figure: str, point: TrendPoint) -> str:
    ends = [show_figure(figure, end) or "?" for end in (point.low, point.high)]
    return "" if ends == ["?", "?"] else " to ".join(ends)


def _draw(figure: str, points: Sequence[TrendPoint], path: Path) -> None:
    from slipway.records.plots.trend import trend_svg  # noqa: PLC0415 - matplotlib takes a second, and only here

    try:
        write_atomic(path, trend_svg(figure, points, lambda value: show_figure(figure, value)))
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error}.", remedy="Name a file in a directory.") from None
