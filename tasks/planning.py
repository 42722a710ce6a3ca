"""Plan a run."""

from prefect import task
from prefect.artifacts import create_image_artifact, create_markdown_artifact

from slipway.preflight.plan import Plan
from slipway.profile import Profile
from slipway.records.plots import data_url
from slipway.records.plots.memory import memory_svg
from slipway.records.report import plan_page
from slipway.stages import planning
from slipway.stages.run import Run
from tasks.policy import RETRIED


@task(name="plan", **RETRIED)
def plan(run: Run) -> None:
    """Resolve the weights, look at what is there, and say what will be done and why."""
    try:
        planning.plan_run(run)
    finally:
        _publish(run.record.plan)


@task(name="plan", **RETRIED)
def plan_only(profile: Profile) -> Plan:
    """The same without a run: nothing is held, nothing is kept."""
    made = planning.plan_of(profile)
    _publish(made)
    return made


def _publish(made: Plan | None) -> None:
    create_markdown_artifact(key="plan", markdown=plan_page(made), description="What runs, and why")
    if made is not None and made.capacity is not None:
        picture = data_url(memory_svg(made.capacity))
        create_image_artifact(image_url=picture, key="memory", description="One GPU's memory")
