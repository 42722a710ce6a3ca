"""What a run may take, in seconds and in dollars: it is ended before it takes more, and told what for."""

from __future__ import annotations

import time
from datetime import datetime

from slipway.errors import Rejected
from slipway.profile import Profile
from slipway.records.record import ReleaseRecord
from slipway.stages.cost import Meter, charge
from slipway.stages.names import ON_GPU, Stage
from slipway.units import HOURS, show_seconds, show_usd, utc_now

LEAST_S = 1.0
"""Less time than this is none: nothing can be begun and ended in it."""

KEPT = "Weights and kernels that are in their volumes stay: a run after this one skips what is done."


class Purse:
    """The budget of one run, and what was taken of it.

    Args:
        profile: Its budget, and the price of a replica.
        record: The run's; its stages are charged.

    Attributes:
        meter: What of the run holds GPUs.
    """

    def __init__(self, profile: Profile, record: ReleaseRecord) -> None:
        self._budget = profile.budget
        self._price_usd = profile.hardware.cost_per_hour_usd
        self._record = record
        self._began_s = time.monotonic()
        self.meter = Meter()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began_s

    def charge(self, *, until: datetime | None = None) -> float:
        """Write into the record what the run has cost; dollars.

        Args:
            until: End of the run; None while it goes on.
        """
        record = self._record
        charge(record.stages, self.meter.lifetimes(), now=until or utc_now(), price_usd=self._price_usd)
        record.cost_usd = sum(stage.cost_usd for stage in record.stages)
        return record.cost_usd

    def remaining_s(self, stage: Stage | None) -> float:
        """How long a stage may go on: until the run's deadline, and on GPUs until its money is spent.

        Raises:
            Rejected: If it may not.
        """
        left_s = self._budget.max_run_s - self.elapsed_s
        if left_s < LEAST_S:
            raise Rejected(
                f"The run has used up its {show_seconds(self._budget.max_run_s)} (budget.max_run_s).",
                remedy=f"Look at the timeline for the stage that took long, or allow more. {KEPT}",
            )
        return left_s if stage is None or stage not in ON_GPU else min(left_s, self._paid_s(stage))

    def _paid_s(self, stage: Stage) -> float:
        """How long the replicas that run now can go on until the money is spent."""
        budget_usd = self._budget.max_cost_usd
        if not budget_usd or not self._price_usd:
            return float("inf")
        spent_usd = self.charge()
        paid_s = (budget_usd - spent_usd) / self._price_usd / max(self.meter.running, 1) * HOURS
        if paid_s < LEAST_S:
            raise Rejected(
                f"The run has spent {show_usd(spent_usd)} of its budget of {show_usd(budget_usd)} "
                f"(budget.max_cost_usd), and {stage.value!r} has not come to its end.",
                remedy=f"Look at the timeline for the stage that was dearer than planned, or allow more. {KEPT}",
            )
        return paid_s

    def require_affordable(self, stage: Stage) -> None:
        """Refuse a stage that may cost more than is left, before it begins.

        Raises:
            Rejected: With what was spent, and what the stage would need.
        """
        self.remaining_s(stage)
        budget_usd, plan = self._budget.max_cost_usd, self._record.plan
        if not budget_usd or plan is None or stage not in ON_GPU:
            return
        spent_usd, needed_usd = self.charge(), plan.step(stage).cost_usd
        if spent_usd + needed_usd > budget_usd:
            raise Rejected(
                f"The run has spent {show_usd(spent_usd)}, {stage.value!r} may take {show_usd(needed_usd)} more, and "
                f"the budget is {show_usd(budget_usd)} (budget.max_cost_usd).",
                remedy=f"Raise the budget to {show_usd(spent_usd + needed_usd)} or more, or find what was dearer than "
                f"planned: docs/costs.md. {KEPT}",
            )
