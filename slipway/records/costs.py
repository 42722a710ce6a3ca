"""What a run was reckoned to cost beside what it did, stage by stage, as rows that every report shows."""

from __future__ import annotations

from slipway.preflight.plan import Step
from slipway.records.capacity import show_range, show_span
from slipway.records.record import ReleaseRecord, StageRecord
from slipway.units import show_seconds, show_usd

COST_COLUMNS = ("stage", "GPUs held, reckoned", "measured", "cost, reckoned", "measured", "")


def cost_rows(record: ReleaseRecord) -> list[tuple[str, ...]]:
    """Forecast and cost by `COST_COLUMNS`, of the stages that were reached, and their sum; none without a price."""
    steps = {step.stage: step for step in record.plan.steps} if record.plan else {}
    found = [(steps.get(stage.name) or Step(stage=stage.name, runs=True, why=""), stage) for stage in record.stages]
    priced = [(step, stage) for step, stage in found if step.cost_usd or stage.cost_usd]
    if not priced:
        return []
    return [*(_row(step, stage) for step, stage in priced), _row(*_whole(priced))]


def _whole(priced: list[tuple[Step, StageRecord]]) -> tuple[Step, StageRecord]:
    """All stages as if they were one."""
    steps, stages = [step for step, _ in priced], [stage for _, stage in priced]
    step = Step(
        stage="all",
        runs=True,
        why="",
        least_s=sum(step.least_s for step in steps),
        most_s=sum(step.most_s for step in steps),
        cost_least_usd=sum(step.cost_least_usd for step in steps),
        cost_usd=sum(step.cost_usd for step in steps),
    )
    held_s, cost_usd = sum(stage.held_s for stage in stages), sum(stage.cost_usd for stage in stages)
    return step, stages[-1].model_copy(update={"held_s": held_s, "cost_usd": cost_usd})


def _row(step: Step, stage: StageRecord) -> tuple[str, ...]:
    return (
        step.stage,
        show_span(step.least_s, step.most_s),
        show_seconds(stage.held_s),
        show_range(step.cost_least_usd, step.cost_usd),
        show_usd(stage.cost_usd),
        _beside(stage.cost_usd, step),
    )


def _beside(cost_usd: float, step: Step) -> str:
    """Where a cost lies beside its forecast."""
    if cost_usd > step.cost_usd:
        return "more than reckoned"
    return "less than reckoned" if cost_usd < step.cost_least_usd else "as reckoned"
