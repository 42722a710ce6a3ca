"""Planning: resolve what is asked for, look at what is there, say what a run would do and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson
from pydantic import ValidationError

from slipway.errors import Corrupt, Misconfigured, Rejected
from slipway.kernels.cache import look_up
from slipway.kernels.key import KernelKey, kernel_key
from slipway.platforms.port import Platform, Release, Volume
from slipway.preflight.capacity import capacity
from slipway.preflight.difference import Change, changes
from slipway.preflight.findings import examine
from slipway.preflight.model_shape import ModelShape, known_shape, read_shape
from slipway.preflight.moving import fetching, verifying
from slipway.preflight.plan import Finding, Plan, errors_among
from slipway.preflight.subject import subject
from slipway.profile import Profile
from slipway.records.ledger import Ledger
from slipway.stages.forecast import gpu_seconds, step
from slipway.stages.names import Stage
from slipway.stages.run import Run
from slipway.stages.surroundings import hub_endpoint, open_platform
from slipway.units import show_bytes, show_usd
from slipway.weights.hub import HubRevision, fetch_manifest
from slipway.weights.layout import model_path
from slipway.weights.manifest import Manifest
from slipway.weights.ready import missing

_CONFIG: Final = "config.json"
_LARGEST_CONFIG_BYTES: Final = 1 << 20
"""GLM-5.1's has 2 KiB, a large quantisation's some hundred."""


def weights_volume(profile: Profile) -> str:
    """Name of the volume that holds the app's weights."""
    return f"{profile.app}-model-weights"


def kernel_volume(profile: Profile) -> str:
    """Name of the volume that holds the app's kernel caches."""
    return f"{profile.app}-kernel-cache"


def resolve(profile: Profile, platform: Platform, hub: str) -> Manifest:
    """The weights a profile means, by the Hub."""
    return fetch_manifest(
        profile.model.repo,
        profile.model.revision,
        endpoint=hub,
        token=_token(profile, platform),
        allow_floating=profile.model.allow_floating,
    )


def _token(profile: Profile, platform: Platform) -> str | None:
    return platform.secret(profile.model.token_secret) if profile.model.token_secret else None


def make_plan(profile: Profile, platform: Platform, manifest: Manifest, hub: str) -> tuple[Plan, KernelKey]:
    """What a run would do with these weights on this platform."""
    key = kernel_key(profile, manifest.digest)
    live = platform.live(profile.app)
    weights = platform.volume(weights_volume(profile))
    shape = shape_in(weights, manifest) or known_shape(profile.model.repo)
    if shape is None and profile.hardware.gpu:
        shape = _shape_at(hub, profile, platform, manifest)
    seen = subject(profile, shape)
    carried = capacity(seen)
    to_fetch = missing(weights, manifest)
    size_bytes = sum(file.size_bytes for file in to_fetch)
    seconds = {
        **gpu_seconds(seen, carried),
        Stage.SYNC: fetching(profile, size_bytes),
        Stage.VERIFY: verifying(profile, manifest.total_bytes, len(manifest.files)),
    }
    cache = look_up(platform.volume(kernel_volume(profile)), key)
    wanted = f"{len(manifest.files)} files of {manifest.commit[:12]}"
    runs = {
        Stage.SYNC: (
            bool(to_fetch),
            f"{len(to_fetch)} of {wanted} are missing" if to_fetch else f"all {wanted} are there",
            size_bytes,
        ),
        Stage.VERIFY: (
            True,
            "every file is hashed again: earlier verdicts are not believed",
            manifest.total_bytes,
        ),
        Stage.PRECOMPILE: (not cache.usable, cache.why, 0),
        Stage.DEPLOY: (True, "a candidate beside the live release", 0),
        Stage.WARM_UP: (True, "until latency is steady", 0),
        Stage.GATES: (True, f"{len(profile.gates)} gates, {_requests(profile)} requests", 0),
        Stage.PROMOTE: (
            True,
            f"replaces version {live.version}" if live else "the first release of this app",
            0,
        ),
    }
    steps = tuple(
        step(profile, stage, seconds, runs=run, why=why, size_bytes=size) for stage, (run, why, size) in runs.items()
    )
    plan = Plan(
        app=profile.app,
        commit=manifest.commit,
        manifest_digest=manifest.digest,
        kernel_key=key.digest,
        image=profile.engine.image,
        live_version=live.version if live else None,
        steps=steps,
        findings=examine(profile, shape),
        capacity=carried,
        changes=_changes(profile, manifest, platform, live),
    )
    return plan, key


def plan_of(profile: Profile) -> Plan:
    """What a run of a profile would do now; nothing is held and nothing is kept.

    Raises:
        Misconfigured: If platform or Hub refuse.
        Transient: If the Hub cannot be reached.
    """
    platform = open_platform(profile.platform)
    with hub_endpoint(profile) as hub:
        plan, _ = make_plan(profile, platform, resolve(profile, platform, hub), hub)
    return plan


def shape_in(volume: Volume, manifest: Manifest) -> ModelShape | None:
    """The shape that the weights' own config.json has; None before it is there, or for models of another kind."""
    path = f"{model_path(manifest)}/{_CONFIG}"
    try:
        return _shape(volume.read(path), path)
    except FileNotFoundError:
        return None


def _shape_at(hub: str, profile: Profile, platform: Platform, manifest: Manifest) -> ModelShape | None:
    """The shape by the config.json that the Hub has: what cannot fit must be known before the weights are fetched.

    Raises:
        Misconfigured: If the Hub refuses.
        Transient: For everything that may pass.
    """
    size_bytes = next((file.size_bytes for file in manifest.files if file.path == _CONFIG), 0)
    if not 0 < size_bytes <= _LARGEST_CONFIG_BYTES:
        return None
    revision = HubRevision(manifest.repo, manifest.commit, hub, _token(profile, platform))
    return _shape(revision.read(_CONFIG, 0, size_bytes), f"{_CONFIG} at the Hub")


def _shape(config: bytes, source: str) -> ModelShape | None:
    """The shape by a config.json; None for models of another kind."""
    try:
        return read_shape(orjson.loads(config), source=source)
    except (orjson.JSONDecodeError, Misconfigured):  # verification tells what is broken
        return None


def _changes(profile: Profile, manifest: Manifest, platform: Platform, live: Release | None) -> tuple[Change, ...]:
    """In what the release would differ from the one that serves, if that has a record here."""
    if live is None:
        return ()
    try:
        record = Ledger(platform).load(live.release_id)
    except (Misconfigured, Corrupt):
        return ()
    before = {**_complete(record.profile), "commit": record.commit}
    return changes(before, {**profile.model_dump(mode="json"), "commit": manifest.commit})


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    """A recorded profile with the defaults of today, so that new fields are no changes; as it is if it is no more."""
    try:
        return Profile.model_validate(document).model_dump(mode="json")
    except ValidationError:
        return document


def plan_run(run: Run, last: Stage = Stage.PROMOTE) -> Plan:
    """The stage: plan the run and refuse what cannot go well.

    Args:
        run: The run.
        last: The stage that it ends with.

    Raises:
        Misconfigured: If preflight finds an error.
        Rejected: If the run would cost more than its budget.
    """
    with run.stage(Stage.PLAN) as stage:
        run.manifest = resolve(run.profile, run.platform, run.hub)
        whole, run.kernel_key = make_plan(run.profile, run.platform, run.manifest, run.hub)
        plan, record = whole.until(last), run.record
        record.plan, record.commit = plan, plan.commit
        record.manifest_digest, record.kernel_key = plan.manifest_digest, plan.kernel_key
        record.previous_version = plan.live_version
        refuse(plan.findings)
        budget_usd = run.profile.budget.max_cost_usd
        if budget_usd and plan.cost_usd > budget_usd:
            raise Rejected(
                f"The run may cost {show_usd(plan.cost_usd)}, more than its budget of {show_usd(budget_usd)}.",
                remedy="Raise budget.max_cost_usd, or run the stages that cost most less often.",
            )
        skipped = [step.stage for step in plan.steps if not step.runs]
        size = show_bytes(sum(step.size_bytes for step in plan.steps if step.stage == Stage.SYNC))
        stage.done(f"{size} to fetch; skipped: {', '.join(skipped) or 'nothing'}")
    return plan


def refuse(findings: Sequence[Finding]) -> None:
    """Stop at errors.

    Raises:
        Misconfigured: Naming every error found.
    """
    if errors := errors_among(findings):
        raise Misconfigured(
            "; ".join(f"{finding.rule}: {finding.message}" for finding in errors),
            remedy=" ".join(finding.remedy for finding in errors),
        )


def _requests(profile: Profile) -> int:
    used = {gate.workload for gate in profile.gates}
    return sum(workload.requests for name, workload in profile.workloads.items() if name in used)
