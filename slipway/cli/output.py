"""What commands print: tables for people, JSON for programs, and errors that say what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from slipway.errors import SlipwayError
from slipway.gates.verdict import Decision, Verdict
from slipway.records.report import VERDICT_COLUMNS, verdict_row

_COLOURS = {Decision.PASS: "green", Decision.FAIL: "red", Decision.INCONCLUSIVE: "yellow"}

# Where nobody watches there is no terminal to fit into: lines are cut for none.
# Words are printed as they are, unless markup is asked for: logs and errors hold brackets too.
out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True, highlight=False, markup=False)


def print_json(value: Any) -> None:
    """One JSON document on one line of standard output."""
    sys.stdout.write(orjson.dumps(value).decode() + "\n")
    sys.stdout.flush()


def table(*columns: str, rows: Sequence[Sequence[str | Text]], title: str = "") -> None:
    """A table on standard output; words without markup."""
    grid = Table(
        title=Text(title) if title else None, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD,
        pad_edge=False,
    )  # fmt: skip
    for number, column in enumerate(columns):
        grid.add_column(Text(column), no_wrap=number == 0)
    for row in rows:
        grid.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    out.print(grid)


def say(marked: str, plain: str = "") -> None:
    """A line on standard output, wrapped by the terminal only: markup in the first part, none in the second."""
    out.print(marked, end=" " if plain else "\n", markup=True, soft_wrap=True)
    if plain:
        out.print(plain, soft_wrap=True)


def show_verdicts(verdicts: Sequence[Verdict]) -> None:
    """The verdict table, with the reasons of those that are not PASS below it."""
    if not verdicts:
        return
    table(*VERDICT_COLUMNS, rows=[_coloured(verdict) for verdict in verdicts])
    for verdict in verdicts:
        if verdict.decision is not Decision.PASS:
            say(f"[{_COLOURS[verdict.decision]}]{verdict.gate}[/]:", verdict.reason)


def _coloured(verdict: Verdict) -> list[str | Text]:
    row = verdict_row(verdict)
    return [*row[:2], Text(row[2], _COLOURS[verdict.decision]), *row[3:]]


@contextmanager
def working(doing: str, console: Console = out) -> Iterator[Callable[[str], None]]:
    """A line that says what is being done, for as long as the block runs; what it gives changes the words."""
    with console.status(Text(doing)) as status:
        yield lambda said: status.update(Text(said))


@contextmanager
def friendly_errors(*, as_json: bool) -> Iterator[None]:
    """Show a user's error without a traceback, and end with its exit code."""
    try:
        yield
    except SlipwayError as error:
        show_error(error, as_json=as_json)
        raise typer.Exit(error.exit_code) from None


def show_error(error: SlipwayError, *, as_json: bool) -> None:
    """An error as JSON, or on standard error with what to do."""
    if as_json:
        print_json({"error": type(error).__name__, "message": error.message, "remedy": error.remedy})
    else:
        err.print(f"[bold red]{type(error).__name__}[/]: ", end="", markup=True)
        err.print(error.message)
        if error.remedy:
            err.print("[bold]What to do:[/] ", end="", markup=True)
            err.print(error.remedy)
