"""The candidate: deployed beside the live release, proved ready, warmed up."""

from __future__ import annotations

from slipway.engine.client import complete_once
from slipway.engine.command import render
from slipway.errors import Crashed
from slipway.kernels.key import KernelKey
from slipway.measure import warmup
from slipway.platforms.port import Deployment, Mount, Progress, ServerSpec, ServerStatus
from slipway.profile import Profile
from slipway.stages.machines import replicas, serving
from slipway.stages.names import Stage
from slipway.stages.planning import kernel_volume, weights_volume
from slipway.stages.run import Run, StageLog, deployment_of
from slipway.units import show_seconds
from slipway.weights.layout import model_path
from slipway.weights.manifest import Manifest


def server_spec(profile: Profile, manifest: Manifest, key: KernelKey, release_id: str) -> ServerSpec:
    """How a release is served: the supervisor, and under it the engine.

    Args:
        profile: What is meant.
        manifest: The weights.
        key: The kernels.
        release_id: What the server must answer with.
    """
    model = f"${{weights}}/{model_path(manifest)}"
    engine = render(profile, model_dir=model, kernel_dir=f"${{kernels}}/{key.digest}", release_id=release_id)
    supervisor = (
        *("${python}", "-m", "slipway.engine.supervisor"),
        *("--release-id", release_id),
        *("--model-dir", model),
        *("--manifest-digest", manifest.digest),
        *("--port", "${port}"),
        *("--status-file", "${status}"),
        *("--health-timeout-s", f"{profile.scaling.startup_timeout_s:g}"),
        *("--prompt-tokens", f"{max(profile.warmup.prompt_tokens, default=0)}"),
        *("--stop-grace-s", f"{profile.scaling.stop_grace_s:g}"),
        *("--hang-after-s", f"{profile.engine.watchdog_timeout_s:g}"),
        *("--api-key-env", profile.api_key_secret),
        *(("--kernels", "${kernels}", "--kernel-key", key.digest) if profile.engine.kind == "sglang" else ()),
    )
    return ServerSpec(
        release_id=release_id,
        argv=(*supervisor, "--", *engine.argv),
        env=engine.env,
        mounts=(Mount("weights", weights_volume(profile)), Mount("kernels", kernel_volume(profile))),
        secrets=(profile.api_key_secret,),
        stop_grace_s=profile.scaling.stop_grace_s,
        resources=serving(profile),
        replicas=replicas(profile),
    )


def deploy_candidate(run: Run) -> Deployment:
    """The stage: start the candidate and wait until it has completed an inference as the right release."""
    with run.stage(Stage.DEPLOY) as stage:
        spec = server_spec(run.profile, run.manifest, run.kernel_key, run.release_id)
        run.record.argv = list(spec.argv)
        timeout_s = min(run.profile.scaling.startup_timeout_s, run.remaining_s())
        stood_in = _make_room(run)
        candidate = run.deploy(spec)
        try:
            status = run.platform.wait_ready(candidate, timeout_s=timeout_s)
            require_release(run, candidate.url)
        except BaseException:
            run.stop(candidate)
            raise
        run.record.cold_start_s = dict(status.timings_s)
        steps = ", ".join(f"{name} {show_seconds(seconds)}" for name, seconds in status.timings_s.items())
        stage.done(f"{candidate.url} ({steps}){_kernels_told(run, status)}{stood_in}")
        return candidate


def _make_room(run: Run) -> str:
    """In place: end the live release first. Its version stays live, so that whatever ends the run restores it."""
    live = run.platform.live(run.profile.app) if run.profile.strategy == "in_place" else None
    if live is None:
        return ""
    run.platform.stop(deployment_of(live))
    return f"; in place of version {live.version}, which was stopped for it"


def require_release(run: Run, url: str) -> None:
    """Complete a request and check which release answered.

    Raises:
        Crashed: If it is another one: measuring it would judge the wrong release.
    """
    answered = complete_once(run.endpoint_at(url))
    if answered != run.release_id:
        raise Crashed(
            f"{url} answers as release {answered!r}, not {run.release_id!r}.",
            remedy="Another server has this address; stop it and run again.",
        )


def warm_up(run: Run, candidate: Deployment) -> None:
    """The stage: cover the shapes, then repeat until latency is steady."""
    with run.stage(Stage.WARM_UP) as stage:
        spec = run.profile.warmup
        result = warmup.warm_up(
            run.endpoint(candidate),
            spec,
            timeout_s=min(run.profile.scaling.request_timeout_s, run.remaining_s()),
            on_round=lambda n: _after_round(run, stage, n),
        )
        run.record.cold_start_s["coverage"] = result.coverage_s
        state = "steady" if result.steady else "not steady"
        stage.done(
            f"{state} after {len(result.ttft_s)} rounds: TTFT {show_seconds(result.ttft_s[-1])}, "
            f"TPOT {show_seconds(result.tpot_s[-1])}{_kernels_told(run, run.platform.status(candidate))}"
        )


def _after_round(run: Run, stage: StageLog, rounds: int) -> None:
    """Tell how far it is; no round is begun for which there is no time or money."""
    stage.progress(Progress(rounds, run.profile.warmup.max_rounds, "rounds at most"))
    run.remaining_s()


def _kernels_told(run: Run, status: ServerStatus) -> str:
    """What the supervisor says of the kernels: whether anything was compiled that should have been there."""
    return f"; {status.detail}" if run.profile.engine.kind == "sglang" else ""
