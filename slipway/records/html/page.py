"""The page: what a record and its evidence give, put into the template."""

from __future__ import annotations

import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from slipway.gates.evidence import Evidence
from slipway.records import capacity as planned
from slipway.records import compare_rows
from slipway.records import report as shown
from slipway.records.compare import compare
from slipway.records.html import pictures, words
from slipway.records.record import ReleaseRecord


def render(record: ReleaseRecord, evidence: Evidence | None = None, before: ReleaseRecord | None = None) -> str:
    """The report of a run as one HTML document, of whatever there is of the run.

    Args:
        record: The run's record; it may have ended in its first stage.
        evidence: What was observed of the candidate; None where nothing was.
        before: Record of the release that served before, to compare with; None where there was none.
    """
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            record=record,
            words=words,
            timeline=pictures.timeline(record),
            stages=(shown.STAGE_COLUMNS, shown.stage_rows(record)),
            gates=_gates(record, before),
            figures=(shown.FIGURE_COLUMNS, shown.figure_rows(record)),
            findings=(planned.FINDING_COLUMNS, _findings(record)),
            cold_start=pictures.cold_start(record, before),
            comparison=_compared(before, record),
            **_observed(record, evidence, before),
        )
    )


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("slipway.records.html", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _gates(record: ReleaseRecord, before: ReleaseRecord | None) -> list[dict[str, Any]]:
    """Each verdict as words, with its picture where there is one."""
    drawn = pictures.verdicts(record, before)
    return [
        dict(zip(shown.VERDICT_COLUMNS, shown.verdict_row(verdict), strict=True))
        | {"reason": verdict.reason, "picture": drawn.get(verdict.gate)}
        for verdict in record.verdicts
    ]


def _findings(record: ReleaseRecord) -> list[tuple[str, ...]]:
    return [planned.finding_row(finding) for finding in record.plan.findings] if record.plan else []


def _observed(record: ReleaseRecord, evidence: Evidence | None, before: ReleaseRecord | None) -> dict[str, Any]:
    """What needs samples."""
    if evidence is None:
        return {"latencies": [], "accept": None, "pairs": None}
    return {
        "latencies": list(pictures.latencies(record, evidence)),
        "accept": pictures.accept_lengths(record, evidence, before),
        "pairs": pictures.accuracy_pairs(record, evidence),
    }


def _compared(before: ReleaseRecord | None, record: ReleaseRecord) -> dict[str, Any] | None:
    """Tables of what is other than in the release before."""
    if before is None:
        return None
    found = compare(before, record)
    return {
        "before": before.release_id,
        "changed": (compare_rows.DIFFERENCE_COLUMNS, compare_rows.difference_rows(found)),
        "verdicts": (compare_rows.VERDICT_COLUMNS, compare_rows.verdict_rows(found)),
        "figures": (compare_rows.FIGURE_COLUMNS, compare_rows.figure_rows(found)),
        "stages": (compare_rows.STAGE_COLUMNS, compare_rows.stage_rows(found)),
    }
