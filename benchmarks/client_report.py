"""What a comparison of clients found: errors and cost of each, the table, the goals, and all of it as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from benchmarks.peers.clients import SLIPWAY
from benchmarks.peers.figures import Figures, Spread
from benchmarks.peers.process import Cost
from benchmarks.truth_server import Summary

SLOW_S = 12.0
"""A client that takes longer for a run gets no second one in that cell."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the grid: so many streams of one shape, for some clients or (empty) for all."""

    streams: int
    shape: str
    clients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One client in one cell, once."""

    told: Figures
    truth: Figures
    cost: Cost
    server: Summary
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def cpu_s(self) -> float:
        """Processor time: without the imports where that is known."""
        return self.cost.cpu_s if self.told.work_cpu_s is None else self.told.work_cpu_s


@dataclass(frozen=True, slots=True)
class Errors:
    """What a client reported minus what was true; None where it reports no such figure.

    Attributes:
        ttft_s: Seconds.
        tpot_share: Of the true figure.
        event_gap_p99_s: Seconds.
        cpu_per_event_s: Not an error: seconds of processor an event; None where start-up hides it.
    """

    ttft_s: Spread
    tpot_share: Spread | None
    event_gap_p99_s: float | None
    cpu_per_event_s: float | None


@dataclass(slots=True)
class Row:
    """One client in one cell: all its runs, or why there is none."""

    cell: Cell
    client: str
    runs: list[Run] = field(default_factory=list)
    errors: list[Errors] = field(default_factory=list)
    failure: str = ""

    @property
    def slow(self) -> bool:
        return any(run.cost.wall_s > SLOW_S for run in self.runs)

    def median(self, figure: Callable[[Errors], float | None]) -> float | None:
        """The value of the run whose value is of median size, with its sign."""
        values = sorted((value for errors in self.errors if (value := figure(errors)) is not None), key=abs)
        return values[len(values) // 2] if values else None


def errors_of(run: Run, baseline: Run | None) -> Errors:
    told, truth = run.told, run.truth
    ttft = Spread(*(b - a for a, b in _pairs(truth.ttft_s, told.ttft_s)))
    tpot = gap = cpu = None
    if told.tpot_s and truth.tpot_s:
        tpot = Spread(*(b / a - 1 for a, b in _pairs(truth.tpot_s, told.tpot_s)))
    if told.event_gap_p99_s is not None and truth.event_gap_p99_s is not None:
        gap = told.event_gap_p99_s - truth.event_gap_p99_s
    if baseline and run.cpu_s > baseline.cpu_s:  # else its start-up varies by more than its work takes
        cpu = (run.cpu_s - baseline.cpu_s) / (run.server.events - baseline.server.events)
    return Errors(ttft, tpot, gap, cpu)


def _pairs(truth: Spread, told: Spread) -> Iterator[tuple[float, float]]:
    return zip(asdict(truth).values(), asdict(told).values(), strict=True)


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of the table: factor and decimals bring seconds and shares to the unit in its title."""

    title: str
    figure: Callable[[Errors], float | None]
    factor: float
    decimals: int
    signed: bool = True

    def text(self, row: Row) -> str:
        value = row.median(self.figure)
        if value is None:
            return "-"
        return f"{value * self.factor:{'+' if self.signed else ''}.{self.decimals}f}"


def _tpot(name: str) -> Callable[[Errors], float | None]:
    return lambda errors: getattr(errors.tpot_share, name) if errors.tpot_share else None


COLUMNS = (
    Column("TTFT mean ms", lambda errors: errors.ttft_s.mean, 1e3, 2),
    Column("p50", lambda errors: errors.ttft_s.p50, 1e3, 2),
    Column("p99", lambda errors: errors.ttft_s.p99, 1e3, 2),
    Column("TPOT mean %", _tpot("mean"), 1e2, 3),
    Column("p50", _tpot("p50"), 1e2, 3),
    Column("p99", _tpot("p99"), 1e2, 3),
    Column("event gap p99 ms", lambda errors: errors.event_gap_p99_s, 1e3, 2),
    Column("CPU us/event", lambda errors: errors.cpu_per_event_s, 1e6, 1, signed=False),
)
TTFT, TPOT, GAP, CPU = COLUMNS[0], COLUMNS[3], COLUMNS[6], COLUMNS[7]

RESOLUTION = {TTFT.title: 20e-6, TPOT.title: 5e-5, GAP.title: 50e-6, CPU.title: 0.0}
"""Sizes of error that differ by less than this count as equal: loopback and the server's clock are no finer."""


def remark(row: Row) -> str:
    """Why there are no figures, or how many runs the client itself calls invalid."""
    if row.failure:
        return row.failure.splitlines()[-1][:60]
    invalid = sum(bool(run.told.complaints) for run in row.runs)
    return f"{invalid} of {len(row.runs)} invalid" if invalid else "" if row.runs else "not run"


def table(rows: Sequence[Row]) -> Table:
    shown = Table(title="Errors: what each client reports minus what was true", caption="(median of the runs)")
    for title in ("streams", "events", "client", "runs"):
        shown.add_column(title)
    for column in COLUMNS:
        shown.add_column(column.title, justify="right")
    shown.add_column("remark")
    for number, row in enumerate(rows):
        last_of_cell = number + 1 == len(rows) or rows[number + 1].cell != row.cell
        figures = [column.text(row) for column in COLUMNS]
        cell = (str(row.cell.streams), row.cell.shape, row.client, str(len(row.runs)))
        shown.add_row(*cell, *figures, remark(row), end_section=last_of_cell)
    return shown


def markdown(rows: Sequence[Row]) -> str:
    """The same table for a page of the docs."""
    titles = ["streams", "events", "client", "runs", *(column.title for column in COLUMNS), "remark"]
    lines = [titles, ["---"] * 4 + ["--:"] * len(COLUMNS) + ["---"]]
    for row in rows:
        figures = [column.text(row) for column in COLUMNS]
        lines.append([str(row.cell.streams), row.cell.shape, row.client, str(len(row.runs)), *figures, remark(row)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True, slots=True)
class Goal:
    """What Slipway's client is to reach in one cell, or against one peer there."""

    text: str
    reached: bool


ABSOLUTE_GOALS = {
    48: ((TTFT, 1e-4), (TPOT, 1e-4), (GAP, 5e-4), (CPU, 25e-6)),
    128: ((TTFT, 1e-4), (TPOT, 1e-4), (GAP, 5e-4), (CPU, 25e-6)),
    256: ((CPU, 18e-6),),
    512: ((TPOT, 1e-3),),
}


def goals(rows: Sequence[Row]) -> list[Goal]:
    """The goals of the cells that were run; at 512 streams an invalid run is an honest answer too."""
    reached = []
    ours = {row.cell: row for row in rows if row.client == SLIPWAY and row.errors}
    for cell, row in ours.items():
        where = f"{cell.streams} streams, {cell.shape}"
        for column, limit in ABSOLUTE_GOALS.get(cell.streams, ()):
            value = row.median(column.figure)
            ok = value is not None and abs(value) <= limit
            ok = ok or (cell.streams == 512 and all(run.told.complaints for run in row.runs))
            unit = f"{limit * column.factor:g}"
            reached.append(Goal(f"{where}: {column.title} {column.text(row)}, at most {unit}", ok))
    for row in rows:
        if row.client == SLIPWAY or row.cell not in ours or not row.errors:
            continue
        for column in (TTFT, TPOT, GAP, CPU):
            theirs, own = row.median(column.figure), ours[row.cell].median(column.figure)
            if theirs is None or own is None:
                continue
            where = f"{row.cell.streams} streams, {row.cell.shape}"
            ok = abs(own) <= abs(theirs) + RESOLUTION[column.title]
            told = f"{where}: {column.title} {column.text(ours[row.cell])}, {row.client}'s {column.text(row)}"
            reached.append(Goal(told, ok))
    return reached


def as_json(rows: Sequence[Row], baselines: Mapping[tuple[str, int], Run], about: dict[str, Any]) -> dict[str, Any]:
    return {
        "about": about,
        "rows": [
            {
                **asdict(row.cell),
                "client": row.client,
                "failure": row.failure,
                "errors": [asdict(e) for e in row.errors],
            }
            | {"runs": [_run_json(run) for run in row.runs]}
            for row in rows
        ],
        "baselines": [{"client": client, "streams": n, **_run_json(run)} for (client, n), run in baselines.items()],
        "goals": [asdict(goal) for goal in goals(rows)],
    }


def _run_json(run: Run) -> dict[str, Any]:
    server = {name: getattr(run.server, name) for name in run.server.__struct_fields__}
    plain = {name: asdict(getattr(run, name)) for name in ("told", "truth", "cost")}
    return {**plain, "server": server, "about": run.about}
