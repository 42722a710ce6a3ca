"""What stages cost: seconds that they hold the GPUs, and dollars; and the plan of what cannot be seen from here."""

from __future__ import annotations

from collections.abc import Mapping

from slipway.errors import SlipwayError
from slipway.preflight.capacity import Capacity, capacity
from slipway.preflight.findings import examine
from slipway.preflight.forecast import WARMING_UP, gating, precompiling, starting, weights_bytes
from slipway.preflight.moving import fetching, verifying
from slipway.preflight.plan import Finding, Plan, Severity, Step
from slipway.preflight.range import NONE, Range
from slipway.preflight.subject import Subject, subject
from slipway.profile import Profile
from slipway.stages.names import ON_GPU, Stage
from slipway.units import HOURS

UNSEEN = "cannot be seen from here, so taken as missing"
NOT_ASKED = "not asked for, so taken as missing"


def gpu_seconds(seen: Subject, carried: Capacity | None) -> Mapping[Stage, Range]:
    """How long each stage that runs holds the GPUs of a replica; stages that hold none are left out.

    Promoting is taken equal to deploying: on a platform where it deploys anew, the live replica loads once more.
    """
    return {
        Stage.PRECOMPILE: precompiling(seen),
        Stage.DEPLOY: starting(seen),
        Stage.WARM_UP: WARMING_UP,
        Stage.GATES: gating(seen, carried),
        Stage.PROMOTE: starting(seen),
    }


def step(
    profile: Profile, stage: Stage, seconds: Mapping[Stage, Range], *, runs: bool, why: str, size_bytes: int = 0
) -> Step:
    """A stage with its forecast; one that is skipped lasts no time and costs nothing.

    What is known of stages on GPUs is of big GPUs: without one it says nothing of how long they last.
    """
    lasts = seconds.get(stage, NONE) if runs else NONE
    held = lasts if stage in ON_GPU else NONE
    if stage in ON_GPU and profile.hardware.gpu is None:
        lasts = NONE
    rate_usd = profile.hardware.cost_per_hour_usd / HOURS
    return Step(
        stage=stage,
        runs=runs,
        why=why,
        size_bytes=size_bytes,
        lasts_least_s=lasts.least_s,
        lasts_most_s=lasts.most_s,
        least_s=held.least_s if rate_usd else 0.0,
        most_s=held.most_s if rate_usd else 0.0,
        cost_least_usd=held.least_s * rate_usd,
        cost_usd=held.most_s * rate_usd,
    )


def plan_without_platform(profile: Profile, unseen: SlipwayError | None = None) -> Plan:
    """The plan of a profile by itself: every stage, nothing skipped, no network.

    Args:
        profile: What is to be released.
        unseen: Why platform or Hub cannot be seen from here; None if nobody looked.
    """
    seen = subject(profile)
    carried = capacity(seen)
    size_bytes = int(weights_bytes(seen))
    moving = {Stage.SYNC: fetching(profile, size_bytes), Stage.VERIFY: verifying(profile, size_bytes)}
    seconds = {**gpu_seconds(seen, carried), **moving}
    why = UNSEEN if unseen else NOT_ASKED
    return Plan(
        app=profile.app,
        commit="",
        manifest_digest="",
        kernel_key="",
        live_version=None,
        image=profile.engine.image,
        steps=tuple(
            step(profile, stage, seconds, runs=True, why=why, size_bytes=size_bytes if stage in moving else 0)
            for stage in Stage
            if stage is not Stage.PLAN
        ),
        findings=(*examine(profile), *([_finding(unseen)] if unseen else [])),
        capacity=carried,
    )


def _finding(unseen: SlipwayError) -> Finding:
    return Finding(
        rule="unseen",
        severity=Severity.ERROR,
        message=unseen.message,
        remedy=unseen.remedy,
        source="this plan",
    )
