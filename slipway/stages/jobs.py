"""Every kind of job that a profile's runs start, for platforms that must know before."""

from __future__ import annotations

from slipway.platforms.port import Job, Platform
from slipway.profile import Profile
from slipway.stages.datasets import datasets_job
from slipway.stages.gating import observe_job
from slipway.stages.kernels import precompile_job
from slipway.stages.weights import weights_job


def job_kinds(platform: Platform, profile: Profile) -> tuple[Job, ...]:
    """One job of each kind, with the mounts, secrets and machine of its kind, and arguments of no use."""
    return (
        weights_job(profile, "sync:sync", {}),
        datasets_job(profile, ()),
        precompile_job(profile, "build:build", {}, key=""),
        observe_job(platform, profile, url="", release_id="", folder=""),
    )
