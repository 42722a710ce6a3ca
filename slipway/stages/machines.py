"""The machines that jobs and servers of a profile run on, and how many serve; every figure is the profile's."""

from __future__ import annotations

from dataclasses import replace

from slipway.platforms.resources import LONGEST_S, Replicas, Resources
from slipway.profile import Profile


def helper(profile: Profile, kind: str) -> Resources:
    """A machine without GPUs, for work on weights and for measuring.

    Args:
        profile: Whose work.
        kind: What it is for, in one word.
    """
    return Resources(
        kind=kind,
        cpu_cores=profile.hardware.job_cpu_cores,
        memory_mib=profile.hardware.job_memory_mib,
        timeout_s=profile.budget.max_run_s,
    )


def replica(profile: Profile, kind: str) -> Resources:
    """The machine of a replica: what is compiled for it must be compiled on its like.

    Args:
        profile: Whose replica.
        kind: What it is for, in one word.
    """
    if profile.hardware.gpu is None:
        return helper(profile, kind)
    return Resources(
        kind=kind,
        image=profile.engine.image,
        gpu=profile.hardware.gpu,
        gpu_count=profile.hardware.gpu_count,
        timeout_s=profile.budget.max_run_s,
    )


def serving(profile: Profile) -> Resources:
    """The machine of a server, which lives for as long as the platform lets it."""
    return replace(replica(profile, "serve"), timeout_s=LONGEST_S)


def replicas(profile: Profile) -> Replicas:
    """How many replicas serve users."""
    scaling = profile.scaling
    return Replicas(
        least=scaling.min_containers,
        most=scaling.max_containers,
        idle_s=scaling.scaledown_window_s,
        at_once=scaling.max_concurrent_inputs,
        startup_timeout_s=scaling.startup_timeout_s,
    )
