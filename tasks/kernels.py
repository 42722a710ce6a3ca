"""Precompile the engine's kernels."""

from prefect import task

from slipway.stages import kernels
from slipway.stages.run import Run
from tasks import artifacts
from tasks.policy import RETRIED


@task(name="precompile kernels", **RETRIED)
def precompile_kernels(run: Run) -> None:
    """Fill the kernel cache, unless one for this very key is there."""
    kernels.precompile_kernels(run)
    parts = [{"part": name, "value": value} for name, value in run.kernel_key.parts.items()]
    artifacts.table("kernel-cache", parts, f"Key {run.kernel_key.digest}")
