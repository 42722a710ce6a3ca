"""Deploy the candidate and warm it up."""

from prefect import task

from slipway.platforms.port import Deployment
from slipway.stages import candidate as stages
from slipway.stages.run import Run
from tasks import artifacts
from tasks.policy import ONCE, RETRIED


@task(name="deploy candidate", **RETRIED)
def deploy_candidate(run: Run) -> Deployment:
    """Start the candidate beside the live release; ends after its first inference."""
    candidate = stages.deploy_candidate(run)
    phases = [{"phase": name, "seconds": seconds} for name, seconds in run.record.cold_start_s.items()]
    artifacts.table("cold-start", phases, f"Cold start of {run.release_id}")
    return candidate


@task(name="warm up", **ONCE)
def warm_up(run: Run, candidate: Deployment) -> None:
    """Cover the shapes, then repeat until latency is steady."""
    stages.warm_up(run, candidate)
