"""Plan a run."""

from prefect import task

from slipway.preflight.plan import Plan
from slipway.profile import Profile
from slipway.records.report import plan_page
from slipway.stages import planning
from slipway.stages.names import Stage
from slipway.stages.run import Run
from tasks import artifacts
from tasks.policy import RETRIED


@task(name="plan", **RETRIED)
def plan(run: Run, last: Stage = Stage.PROMOTE) -> None:
    """Resolve the weights, look at what is there, and say what will be done until the last stage, and why."""
    try:
        planning.plan_run(run, last)
    finally:
        _publish(run.record.plan)


@task(name="plan", **RETRIED)
def plan_only(profile: Profile) -> Plan:
    """The same without a run: nothing is held, nothing is kept."""
    made = planning.plan_of(profile)
    _publish(made)
    return made


def _publish(made: Plan | None) -> None:
    artifacts.markdown("plan", plan_page(made), "What runs, and why")
    if made is not None and made.capacity is not None:
        from slipway.records.plots import data_url  # noqa: PLC0415  # most of a second, and few plans have a picture
        from slipway.records.plots.memory import memory_svg  # noqa: PLC0415

        picture = data_url(memory_svg(made.capacity))
        artifacts.image("memory", picture, "One GPU's memory")
