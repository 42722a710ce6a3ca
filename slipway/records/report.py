"""The release report: one Markdown page a run, for the record, the UI and the terminal's pager."""

from __future__ import annotations

import re
from collections.abc import Sequence

from slipway.gates.verdict import Verdict, is_comparison, show_figure
from slipway.preflight.plan import Plan
from slipway.records import capacity as planned
from slipway.records.costs import COST_COLUMNS, cost_rows
from slipway.records.record import ReleaseRecord
from slipway.units import show_seconds, show_usd

VERDICT_COLUMNS = ("gate", "level", "verdict", "measured", "bounds", "limit", "margin", "n")
STAGE_COLUMNS = ("stage", "status", "took", "attempts", "cost", "")
FIGURE_COLUMNS = ("workload", "figure", "value")


def report(record: ReleaseRecord) -> str:
    """The whole report of a run."""
    facts = [
        ("Outcome", record.outcome.value.replace("_", " ")),
        ("Reason", record.reason),
        ("Model", f"{record.profile['model']['repo']} at {record.commit[:12] or 'unresolved'}"),
        ("Weights (manifest digest)", record.manifest_digest[:16] or "unresolved"),
        ("Kernel cache key", record.kernel_key[:16] or "unresolved"),
        ("Slipway", record.slipway_version or "not recorded"),
        ("Serves as version", _version(record)),
        ("Cost", show_usd(record.cost_usd)),
        ("Overhead outside the stages", show_seconds(record.overhead_s)),
    ]
    parts = [
        f"# Release {record.release_id}",
        _table(("", ""), facts),
        "## Gates",
        gate_table(record) if record.verdicts else "No gate was reached.",
        "## Timeline",
        timeline(record),
        *_cost_section(record),
        "## Figures",
        figures(record) if record.figures else "Nothing was measured.",
    ]
    return "\n\n".join(parts) + "\n"


def plan_table(record: ReleaseRecord) -> str:
    """The plan of a run."""
    return plan_page(record.plan)


def plan_page(plan: Plan | None) -> str:
    """A plan: what runs, what is skipped, and why; what changes, what is known to be wrong, what can be carried."""
    if plan is None:
        return "No plan was made."
    parts = [_table(planned.STEP_COLUMNS, [planned.step_row(step) for step in plan.steps])]
    if plan.changes:
        parts.append(change_table(plan))
    if plan.findings:
        parts.append(_table(planned.FINDING_COLUMNS, [planned.finding_row(finding) for finding in plan.findings]))
    if plan.capacity:
        parts += [
            _table(planned.MEMORY_COLUMNS, planned.memory_rows(plan.capacity)),
            planned.capacity_facts(plan.capacity),
            _table(planned.FIT_COLUMNS, planned.fit_rows(plan.capacity)),
            planned.ttft_facts(plan.capacity),
            _table(planned.LIMIT_COLUMNS, planned.limit_rows(plan.capacity)),
        ]
    return "\n\n".join(parts)


def change_table(plan: Plan) -> str:
    """In what a release would differ from the one that serves; empty if in nothing."""
    return _table(planned.CHANGE_COLUMNS, planned.change_rows(plan)) if plan.changes else ""


def gate_table(record: ReleaseRecord) -> str:
    """The verdicts of a run."""
    return verdict_table(record.verdicts)


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Verdicts, and the rules they follow."""
    rows = [(*verdict_row(v), v.baseline or "", v.reason) for v in verdicts]
    rules = {rule: [v.gate for v in verdicts if v.rule == rule] for rule in (v.rule for v in verdicts)}
    said = [f"- {', '.join(gates)}: {rule}" for rule, gates in rules.items() if rule]
    return "\n".join([_table((*VERDICT_COLUMNS, "baseline", "reason"), rows), "", *said])


def verdict_row(verdict: Verdict) -> tuple[str, ...]:
    """One verdict as it is shown everywhere, by `VERDICT_COLUMNS`."""
    return (
        verdict.gate,
        verdict.level.value,
        verdict.decision.value,
        show_figure(verdict.gate, verdict.estimate),
        _bounds(verdict),
        verdict.limit,
        _margin(verdict),
        str(verdict.n),
    )


def _margin(verdict: Verdict) -> str:
    """Room between what decides and the limit; that to a baseline in points of a percentage."""
    if verdict.margin is None:
        return ""
    return (
        f"{100 * verdict.margin:.1f} points"
        if is_comparison(verdict.gate)
        else show_figure(verdict.gate, verdict.margin)
    )


def _bounds(verdict: Verdict) -> str:
    ends = [show_figure(verdict.gate, end) or "?" for end in (verdict.low, verdict.high)]
    return "" if ends == ["?", "?"] else " to ".join(ends)


def timeline(record: ReleaseRecord) -> str:
    """The stages as they went."""
    return _table(STAGE_COLUMNS, stage_rows(record))


def stage_rows(record: ReleaseRecord) -> list[tuple[str, ...]]:
    """The stages by `STAGE_COLUMNS`."""
    return [
        (s.name, s.status.value, show_seconds(s.seconds), str(s.attempts), show_usd(s.cost_usd), s.message)
        for s in record.stages
    ]


def _cost_section(record: ReleaseRecord) -> list[str]:
    """What it cost beside what it was to cost; nothing where nothing has a price."""
    rows = cost_rows(record)
    return ["## Cost", _table(COST_COLUMNS, rows)] if rows else []


def figures(record: ReleaseRecord) -> str:
    """What was measured, by workload."""
    return _table(FIGURE_COLUMNS, figure_rows(record))


def figure_rows(record: ReleaseRecord) -> list[tuple[str, ...]]:
    """What was measured, by `FIGURE_COLUMNS`."""
    return [
        (workload, name, show_figure(name, value) + _beside_limit(record, workload, name))
        for workload, values in record.figures.items()
        for name, value in values.items()
    ]


def _beside_limit(record: ReleaseRecord, workload: str, name: str) -> str:
    """How far a measured TPOT is from what physics allows, where that is known."""
    values = record.figures[workload]
    if record.plan is None or not name.startswith("tpot_s"):
        return ""
    times = planned.times_the_limit(record.plan.capacity, workload, values[name], values.get("accept_length"))
    return f" ({times:.1f} x of the limit)" if times else ""


def _version(record: ReleaseRecord) -> str:
    before = f"before: {record.previous_version}" if record.previous_version else "none before"
    return f"{record.version} ({before})" if record.version else f"not released ({before})"


def _table(header: tuple[str, ...], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows])


def _cell(text: str) -> str:
    """The text on one line, with nothing in it that ends a cell, quotes it, or hides it as HTML."""
    return re.sub(r"([\\|<>])", r"\\\1", " ".join(text.split()))
