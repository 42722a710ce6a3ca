"""From evidence to verdicts: one function, pure, so that a verdict can be made again from what was stored."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from slipway.errors import Misconfigured
from slipway.gates import decide
from slipway.gates.case import Case, Estimator, NoFigure
from slipway.gates.evidence import Evidence
from slipway.gates.kinds import ESTIMATES, FINDINGS, NOTES
from slipway.gates.looks import confidence_at, planned
from slipway.gates.statistics import Bounds
from slipway.gates.verdict import Decision, Verdict, limit_text, show_figure
from slipway.measure import metrics
from slipway.measure.counters import traffic_complaint
from slipway.measure.workload import cache_complaint
from slipway.profile import METRICS, Gate, Level, Profile, Statistic

TIMED = frozenset(name for name, metric in METRICS.items() if metric.unit in {"s", "tokens/s", "ratio"})
"""Metrics that a client which does not keep up gets wrong."""

OF_THE_START = frozenset({"cold_start_s", "kernels"})
"""Metrics that are known only of a server that Slipway has started."""


def judge(profile: Profile, evidence: Evidence, gates: Sequence[Gate] | None = None) -> list[Verdict]:
    """Decide gates of a profile.

    Args:
        profile: Whose gates, and whose workloads' right answers.
        evidence: What was observed.
        gates: Those to decide; all by default. The risk is shared among all in any case.

    Returns:
        One verdict a gate, in the order of `gates`.

    Raises:
        Misconfigured: If the samples were measured with other workloads.
    """
    cases = [Case(profile, gate, evidence) for gate in (profile.gates if gates is None else gates)]
    figures = {case.gate.gate_id: _figure(case) for case in cases if case.gate.metric in ESTIMATES}
    measured = {name: figure for name, figure in figures.items() if isinstance(figure, Figure)}
    deciding = {name: figure.broken_at for name, figure in measured.items() if not figure.advisory}
    failing = decide.failing(deciding, gates=max(count_deciding(profile), 1))
    verdicts = []
    for case in cases:
        figure = figures.get(case.gate.gate_id)
        if figure is None:
            verdicts.append(_of_findings(case))
        elif isinstance(figure, NoFigure):
            verdicts.append(_without_figure(case, figure))
        else:
            verdicts.append(_of_figure(case, figure, failing))
    return verdicts


def count_deciding(profile: Profile) -> int:
    """Number of gates that can reject a release by a figure."""
    return sum(gate.metric in ESTIMATES and gate.level is not Level.ADVISORY for gate in profile.gates)


def figure_values(profile: Profile, evidence: Evidence) -> dict[str, float]:
    """The figures that gates compare with a baseline, by figure id: what a later release is compared with."""
    values = {}
    for gate in profile.gates:
        if gate.worse_by is not None:
            absolute = gate.model_copy(update={"worse_by": None, "at_least": 0.0})
            figure = _figure(Case(profile, absolute, evidence))
            if isinstance(figure, Figure):
                values[gate.figure_id] = figure.shown.estimate
    return values


@dataclass(frozen=True)
class Figure:
    """A gate's figure at the look where the evidence ends.

    Attributes:
        gate: The gate.
        estimator: From a confidence to bounds.
        looks: Requests at each planned look; empty where nothing is looked at twice.
        look: Which of them this is.
        error: By how much the client may have misread the figure; the bounds allow for it.
    """

    gate: Gate
    estimator: Estimator
    looks: tuple[int, ...]
    look: int
    error: float

    @property
    def advisory(self) -> bool:
        """Whether it is only reported."""
        return self.gate.level is Level.ADVISORY

    def bounds(self, confidence: float) -> Bounds:
        """The figure with bounds that hold with this confidence over all looks."""
        found = self.estimator(confidence_at(self.looks, self.look, confidence) if self.looks else confidence)
        return replace(found, low=found.low - self.error, high=found.high + self.error) if self.error else found

    def broken_at(self, confidence: float) -> bool:
        """Whether the limit is broken, this surely; against a baseline: and the margin is not kept either."""
        return decide.breaks(self.gate, self.bounds(confidence)) and not decide.keeps(self.gate, self.shown)

    @functools.cached_property
    def shown(self) -> Bounds:
        """The figure with the bounds that decide whether it passes."""
        return self.bounds(self.gate.confidence if self.gate.worse_by is None else decide.MARGIN_POWER)


def _figure(case: Case) -> Figure | NoFigure:
    try:
        error = _client_error(case) if case.name and case.gate.metric in TIMED else 0.0
        estimator = ESTIMATES[case.gate.metric](case)
    except NoFigure as none:
        return none
    # The baseline's spread does not shrink with requests, and a start happens once: neither is looked at twice.
    looks = planned(case.workload) if case.name and case.gate.worse_by is None else ()
    look = max((sample.block for sample in case.samples), default=0)
    if looks and look >= len(looks):
        raise Misconfigured(
            f"Workload {case.name!r} was measured in {look + 1} blocks, and the profile has {len(looks)}.",
            remedy="Judge samples with the profile they were measured with.",
        )
    return Figure(_with_room(case), estimator, looks, look, error)


def _with_room(case: Case) -> Gate:
    """The gate; its margin wider where the spread of so few releases is not well known."""
    gate, known = case.gate, len(case.baseline.figures.get(case.gate.figure_id, ()))
    if gate.worse_by is None or case.live or known >= decide.FEW_RELEASES:
        return gate
    return gate.model_copy(update={"worse_by": decide.WIDER * gate.worse_by})


def _client_error(case: Case) -> float:
    """By how much a client that did not keep up may have misread a time; 0 where it did keep up.

    It stamps late, never early, and by no more than it lagged (for all but 1 % of its reads). A limit that holds
    with that much added is kept whatever the client did. Nothing of the kind bounds throughput or a ratio.

    Raises:
        NoFigure: If the figure would not be the server's, and cannot be mended.
    """
    if complaint := cache_complaint(case.workload, case.samples) or _other_traffic(case):
        raise NoFigure(f"the measurement is invalid: {complaint}", server=False)
    if (quality := case.evidence.quality.get(case.name)) is None:
        return 0.0
    tpots_s = metrics.tpot_s(case.samples)
    complaints = quality.complaints(float(np.median(tpots_s)) if len(tpots_s) else None)
    if not complaints:
        return 0.0
    if case.gate.spec.unit != "s" or case.gate.worse_by is not None:
        raise NoFigure(f"the measurement is invalid: {' '.join(complaints)}", server=False)
    if case.gate.metric == "tpot_s":
        counts = [s.event_tokens[-1] - s.event_tokens[0] for s in case.served if s.event_tokens]
        return quality.lag_p99_s / max(float(np.median(counts)), 1.0) if counts else 0.0
    return quality.lag_p99_s


def _other_traffic(case: Case) -> str:
    """Whether others loaded the server meanwhile, as a sentence; empty if not, or if it does not count requests."""
    counters = case.evidence.counters.get(case.name)
    return traffic_complaint(counters, len(case.samples)) if counters and counters.requests is not None else ""


def _of_findings(case: Case) -> Verdict:
    try:
        found = FINDINGS[case.gate.metric](case)
    except NoFigure as none:
        return _without_figure(case, none)
    return Verdict(
        gate=case.gate.gate_id,
        level=case.gate.level,
        decision=Decision.FAIL if found else Decision.PASS,
        estimate=float(len(found)),
        limit=limit_text(case.gate),
        n=1,
        rule="FAIL if anything is found.",
        reason="; ".join(found) or f"nothing found: {case.gate.spec.about}",
    )


def _without_figure(case: Case, none: NoFigure) -> Verdict:
    """The server's fault is a FAIL. What cannot be judged for want of a baseline, or of a start, is reported only."""
    not_yet = case.gate.worse_by is not None or case.gate.statistic is Statistic.DROP
    unjudged = not none.server and (not_yet or case.gate.metric in OF_THE_START)
    return Verdict(
        gate=case.gate.gate_id,
        level=Level.ADVISORY if unjudged else case.gate.level,
        decision=Decision.FAIL if none.server else Decision.INCONCLUSIVE,
        limit=limit_text(case.gate),
        n=0,
        reason=none.reason,
    )


def _of_figure(case: Case, figure: Figure, failing: frozenset[str]) -> Verdict:
    gate, shown = figure.gate, figure.shown
    if gate.gate_id in failing or (figure.advisory and figure.broken_at(gate.confidence)):
        decision = Decision.FAIL
    else:
        decision = Decision.PASS if decide.keeps(gate, shown) else Decision.INCONCLUSIVE
    return Verdict(
        gate=gate.gate_id,
        level=gate.level,
        decision=decision,
        estimate=shown.estimate,
        low=_finite(shown.low),
        high=_finite(shown.high),
        limit=limit_text(gate),
        margin=_finite(decide.margin(gate, shown)),
        n=shown.n,
        baseline=", ".join(_compared_with(case)) or None,
        rule=_rule(figure),
        reason="; ".join(filter(None, (_reason(case, decision, figure), _note(case)))),
    )


def _compared_with(case: Case) -> tuple[str, ...]:
    """Ids of the releases that the figure is compared with; none for an absolute limit."""
    if case.gate.worse_by is not None:
        return ("live",) if case.live else case.baseline.releases
    return case.baseline.releases[-1:] if case.gate.statistic is Statistic.DROP else ()


def _note(case: Case) -> str:
    return NOTES[case.gate.metric](case) if case.gate.metric in NOTES else ""


def _rule(figure: Figure) -> str:
    gate = figure.gate
    if gate.worse_by is not None:
        return (
            f"PASS if a loss of {100 * gate.worse_by:g} % against the baseline is excluded (it would not pass "
            f"{100 * decide.MARGIN_POWER:g} times in 100); FAIL if not, and releases do not differ so much by chance."
        )
    look = f", look {figure.look + 1} of at most {len(figure.looks)}" if len(figure.looks) > 1 else ""
    return (
        f"PASS if the unfavourable {100 * gate.confidence:g} % bound keeps the limit{look}; FAIL if the favourable one "
        f"breaks it, with a {100 * decide.FALSE_ALARM:g} % false alarm over all gates; else INCONCLUSIVE."
    )


def _reason(case: Case, decision: Decision, measured: Figure) -> str:
    gate, figure = case.gate, measured.shown
    if gate.worse_by is not None:
        chance = measured.bounds(gate.confidence)
        usual = f"by chance it would be up to {show_figure(gate.gate_id, chance.estimate / chance.low)}"
        with_what = f"the live release in {figure.n} blocks" if case.live else f"the mean of {figure.n} releases"
        return f"{show_figure(gate.gate_id, figure.estimate)} against {with_what}; {usual}"
    upper_decides = gate.at_most is not None and decide.margin(gate, figure) == gate.at_most - figure.high
    bound, side = (figure.high, "at most") if upper_decides else (figure.low, "at least")
    text = (
        f"at {100 * gate.confidence:g} % confidence the true value is {side} {show_figure(gate.gate_id, bound)}"
        if math.isfinite(bound)
        else f"{figure.n} requests are too few for a bound"
    )
    first = next((sample.error for sample in case.samples if sample.error), "")
    failed = f"; first failure: {first}" if first else ""
    if measured.error:
        text += f", with {show_figure(gate.gate_id, measured.error)} allowed for a client that read late"
    match decision:
        case Decision.PASS:
            return text
        case Decision.FAIL:
            return f"measured {show_figure(gate.gate_id, figure.estimate)}, and chance does not explain it{failed}"
        case Decision.INCONCLUSIVE:
            return f"{text}: too close to the limit to tell{failed}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
