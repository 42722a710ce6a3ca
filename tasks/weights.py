"""Sync and verify the weights."""

from prefect import task

from slipway.stages import weights
from slipway.stages.run import Run
from tasks import artifacts
from tasks.policy import RETRIED
from tasks.progress import progress_artifact


@task(name="sync weights", **RETRIED)
def sync_weights(run: Run) -> None:
    """Fetch what is missing in the volume."""
    with progress_artifact("sync-weights"):
        weights.sync_weights(run)


@task(name="verify volume", **RETRIED)
def verify_weights(run: Run) -> None:
    """Hash every file from a fresh process, then mark the weights ready."""
    with progress_artifact("verify-volume"):
        weights.verify_weights(run)
    files = [file.model_dump() for file in run.manifest.files]
    about = f"{run.manifest.repo} at {run.manifest.commit}, digest {run.manifest.digest}"
    artifacts.table("manifest", files, about)
