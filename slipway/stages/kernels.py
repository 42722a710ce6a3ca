"""Filling the kernel cache, unless one for this very key is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipway.engine.command import render
from slipway.errors import Corrupt
from slipway.kernels.architecture import require_architecture
from slipway.kernels.build import PORT, Order
from slipway.kernels.cache import look_up
from slipway.kernels.directories import ROOTS
from slipway.platforms.port import Job, Mount, ServerStatus
from slipway.profile import Profile
from slipway.stages.machines import replica
from slipway.stages.names import Stage
from slipway.stages.planning import kernel_volume, weights_volume
from slipway.stages.run import Run
from slipway.units import show_bytes, show_seconds
from slipway.weights.layout import model_path


def precompile_kernels(run: Run) -> None:
    """The stage: compile for the run's key, then look from outside whether the cache counts."""
    with run.stage(Stage.PRECOMPILE) as stage:
        volume = run.platform.volume(kernel_volume(run.profile))
        state = look_up(volume, run.kernel_key)
        if state.usable:
            stage.skip(state.why)
            return
        job = _sglang_job(run) if run.profile.engine.kind == "sglang" else _miniature_job(run)
        result = run.run_on_gpus(job, stage.progress)
        state = look_up(volume, run.kernel_key)
        if not state.usable:
            raise Corrupt(
                f"The kernels were compiled, but the volume does not show them: {state.why}.",
                remedy="Run again; if it stays so, the volume loses commits.",
            )
        stage.done(_told(result))


def compiled_anew(run: Run, status: ServerStatus) -> tuple[str, ...] | None:
    """What a candidate compiled although it was made beforehand; None where neither supervisor nor engine counts.

    A cache that the volume no longer has for the run's key is told with what differs in the nearest key's parts.
    """
    if status.kernels is None:
        cache = run.record.server.get("kernel_cache")
        misses = cache.get("misses") if isinstance(cache, dict) else None
        if misses is None:
            return None
        return (f"the engine compiled {misses} units at its start",) if misses else ()
    state = look_up(run.platform.volume(kernel_volume(run.profile)), run.kernel_key)
    return status.kernels if state.usable else (*status.kernels, f"in the volume: {state.why}")


def _miniature_job(run: Run) -> Job:
    arguments = {
        "model_dir": f"${{weights}}/{model_path(run.manifest)}",
        "key": run.kernel_key.digest,
        "parts": dict(run.kernel_key.parts),
        "deadline_s": run.remaining_s(),
    }
    return precompile_job(run.profile, "precompile:precompile", arguments, key=run.kernel_key.digest)


def _sglang_job(run: Run) -> Job:
    """The build as an order.

    Raises:
        Misconfigured: If the kernels asked for do not exist for the GPU; nothing was rented then.
    """
    profile = run.profile
    require_architecture(profile)
    model_dir = f"${{weights}}/{model_path(run.manifest)}"
    engine = render(profile, model_dir=model_dir, kernel_dir=None, release_id=run.release_id)
    order = Order(
        model_dir=Path(model_dir),
        manifest_digest=run.manifest.digest,
        key=run.kernel_key.digest,
        parts=dict(run.kernel_key.parts),
        argv=[word.replace("${port}", PORT) for word in engine.argv],
        env=dict(engine.env),
        served_name=profile.model.served_name,
        gpu=profile.hardware.gpu or "",
        tp_size=profile.engine.tp_size,
        moe_runner_backend=profile.engine.moe_runner_backend,
        fp8_gemm_backend=profile.engine.fp8_gemm_backend,
        lengths=list(profile.warmup.prompt_tokens),
        concurrency=profile.engine.max_running_requests,
        startup_timeout_s=profile.scaling.startup_timeout_s,
        deadline_s=run.remaining_s(),
        roots=ROOTS,
    )
    arguments = {"order": order.model_dump(mode="json")}
    return precompile_job(profile, "build:build", arguments, key=run.kernel_key.digest)


def precompile_job(profile: Profile, function: str, arguments: Mapping[str, Any], *, key: str) -> Job:
    """A job of `slipway.kernels`, `module:name`, on the machine of a replica: kernels are made where they will run."""
    return Job(
        name="precompile",
        function=f"slipway.kernels.{function}",
        arguments=arguments,
        mounts=(
            Mount("weights", weights_volume(profile)),
            Mount("kernels", kernel_volume(profile), read_only=False),
        ),
        resources=replica(profile, "precompile"),
        work=f"{kernel_volume(profile)} {key}" if key else "",
    )


def _told(result: Mapping[str, Any]) -> str:
    told = f"{result['units']} units, {show_bytes(result['size_bytes'])}"
    if "added_by_start" in result:
        told += (
            f"; {result['shapes']} shapes in {show_seconds(result['seconds'])}, "
            f"{result['added_by_start']} files more by the first start and its load"
        )
    return told
