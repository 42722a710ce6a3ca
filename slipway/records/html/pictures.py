"""The pictures of a report, each in the page's colours, with what must be said to read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from slipway.errors import SlipwayError
from slipway.gates.evidence import Evidence
from slipway.gates.verdict import Verdict, is_comparison
from slipway.profile import Gate, Profile, Statistic
from slipway.records.compare import Measured, comparison_key_of, figures_of
from slipway.records.pairs import answer_pairs
from slipway.records.plots.accept import accept_svg
from slipway.records.plots.cold_start import cold_start_svg
from slipway.records.plots.concurrency import concurrency_svg
from slipway.records.plots.gate import Judged, gate_svg
from slipway.records.plots.latency import LATENCIES, distribution_svg
from slipway.records.plots.pairs import pairs_svg
from slipway.records.plots.svg import inline
from slipway.records.plots.timeline import timeline_svg
from slipway.records.record import ReleaseRecord


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing with its caption."""

    svg: str
    caption: str


def gates_of(record: ReleaseRecord) -> list[Gate]:
    """The gates of the profile as it was used; those that today's rules do not allow are left out."""
    found = []
    for given in record.profile.get("gates", ()):
        try:
            found.append(Gate.model_validate(given))
        except ValidationError:
            continue
    return found


def timeline(record: ReleaseRecord) -> Picture | None:
    """When each stage ran."""
    if not record.stages:
        return None
    drawn = timeline_svg(record.stages, record.started_at)
    return _picture(drawn, "timeline", "Stages over time. Those that hold GPUs are blue, a line adds up their cost.")


def verdicts(record: ReleaseRecord, before: ReleaseRecord | None) -> dict[str, str]:
    """By gate, the figure with its bounds against its limits; none for findings, and where nothing was measured."""
    gates = {gate.gate_id: gate for gate in gates_of(record)}
    drawn = {}
    for number, verdict in enumerate(record.verdicts):
        gate = gates.get(verdict.gate)
        if gate is None or gate.statistic is Statistic.EQUAL or verdict.estimate is None:
            continue
        judged = Judged(verdict, gate, _compared_with(verdict, gate, record, before))
        title = f"{verdict.gate}: {verdict.decision}, limit {verdict.limit}"
        drawn[verdict.gate] = inline(gate_svg(judged), name=f"gate-{number}", title=title)
    return drawn


def latencies(record: ReleaseRecord, evidence: Evidence) -> Iterator[Picture]:
    """How latencies are distributed, and how they depend on concurrency."""
    if not any(not sample.error for taken in evidence.samples.values() for sample in taken):
        return
    gates = gates_of(record)
    for metric, (label, _) in LATENCIES.items():
        drawn = distribution_svg(metric, gates, evidence.samples)
        yield _picture(drawn, metric, f"{label}: share of requests that took no longer, with the limits.")
    for metric, (label, _) in LATENCIES.items():
        drawn = concurrency_svg(metric, evidence.samples)
        yield _picture(drawn, f"{metric}-load", f"{label} against concurrency: median, and 10th to 90th percentile.")


def accept_lengths(record: ReleaseRecord, evidence: Evidence, before: ReleaseRecord | None) -> Picture | None:
    """Accept length by workload."""
    if not any(name.startswith("accept_length") for name in figures_of(record)):
        return None
    means = {
        workload: found.estimate
        for workload in evidence.samples
        if (found := _figure_before(f"accept_length.mean@{workload}", record, before)) is not None
    }
    drawn = accept_svg(gates_of(record), evidence.samples, means)
    words = "Quartiles of the requests, whiskers 5 to 95 %; dot: mean; upright bar: limit; diamond: release before."
    return _picture(drawn, "accept", words)


def accuracy_pairs(record: ReleaseRecord, evidence: Evidence) -> Picture | None:
    """Which answers were lost and won; None where there was nothing to compare with, or it can be judged no more."""
    try:
        found = answer_pairs(Profile.model_validate(record.profile), evidence)
    except (ValidationError, SlipwayError):
        return None
    words = "Answers to the same questions, against the release before."
    return _picture(pairs_svg(found), "pairs", words) if found else None


def cold_start(record: ReleaseRecord, before: ReleaseRecord | None) -> Picture | None:
    """The candidate's start by phase."""
    if not record.cold_start_s:
        return None
    drawn = cold_start_svg(record.cold_start_s, before.cold_start_s if before else {})
    return _picture(drawn, "cold-start", "Phases of the start, one after the other; grey line: the release before.")


def _picture(drawn: bytes, name: str, caption: str) -> Picture:
    return Picture(inline(drawn, name=name, title=caption), caption)


def _compared_with(verdict: Verdict, gate: Gate, record: ReleaseRecord, before: ReleaseRecord | None) -> float | None:
    """Where the diamond goes: a comparison starts at its baseline, any other figure at that of the release before."""
    if is_comparison(verdict.gate):
        return 1.0
    if gate.statistic is Statistic.DROP:
        return 0.0
    found = _figure_before(verdict.gate, record, before)
    return found.estimate if found else None


def _figure_before(figure: str, record: ReleaseRecord, before: ReleaseRecord | None) -> Measured | None:
    """The release before's, where the two compare."""
    if before is None or comparison_key_of(record, figure) != comparison_key_of(before, figure):
        return None
    return figures_of(before).get(figure)
