"""Accuracy pairs: which answers the candidate lost and won against the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slipway.gates.answers import right_by_id
from slipway.gates.case import Case
from slipway.gates.evidence import Evidence
from slipway.gates.statistics import Bounds, wilson
from slipway.profile import Profile, Statistic


@dataclass(frozen=True, slots=True)
class Pairs:
    """Questions that candidate and baseline were both asked, by who answered rightly."""

    both_right: int
    won: int
    lost: int
    both_wrong: int

    @property
    def asked(self) -> int:
        """How many questions."""
        return self.both_right + self.won + self.lost + self.both_wrong

    @property
    def right(self) -> Bounds:
        """The candidate's share of right answers, in 95 of 100 cases between the bounds; needs one question."""
        return wilson(self.both_right + self.won, self.asked, 0.975)


def pairs(before: Mapping[str, bool], now: Mapping[str, bool]) -> Pairs:
    """Count the questions that both answered, by id."""
    asked = [(before[name], right) for name, right in now.items() if name in before]
    return Pairs(
        both_right=asked.count((True, True)),
        won=asked.count((False, True)),
        lost=asked.count((True, False)),
        both_wrong=asked.count((False, False)),
    )


def answer_pairs(profile: Profile, evidence: Evidence) -> dict[str, Pairs]:
    """By workload that is compared answer by answer, who answered what rightly; those without a baseline left out."""
    cases = [Case(profile, gate, evidence) for gate in profile.gates if gate.statistic is Statistic.DROP]
    return {case.name: pairs(case.baseline.right, right_by_id(case)) for case in cases if case.baseline.right}
