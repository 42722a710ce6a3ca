"""Keeping one replica warm: a request in time, before the platform ends a replica that nobody uses."""

from __future__ import annotations

import time
from dataclasses import dataclass

from slipway.engine.client import complete_once
from slipway.measure.awake import await_awake
from slipway.platforms.port import Platform
from slipway.profile import Profile
from slipway.stages.check import live_endpoint, require_live
from slipway.units import HOURS, show_seconds, show_usd


@dataclass(frozen=True, slots=True)
class Warmth:
    """What a request to keep a replica warm found.

    Attributes:
        release_id: The release that answered.
        took_s: Time to its answer: a start, if none was warm.
        cost_per_hour_usd: Price of the replica that stays.
        stays_s: How long it stays, from now on, if nobody asks it anything more.
    """

    release_id: str
    took_s: float
    cost_per_hour_usd: float
    stays_s: float

    def __str__(self) -> str:
        """In words, with what it costs."""
        until = self.stays_s / HOURS * self.cost_per_hour_usd
        return (
            f"{self.release_id} answered in {show_seconds(self.took_s)}; a replica stays for "
            f"{show_seconds(self.stays_s)} at {show_usd(self.cost_per_hour_usd)} an hour: {show_usd(until)} at most"
        )


def keep_warm(platform: Platform, profile: Profile) -> Warmth:
    """Ask the live release for one short answer, waiting for a replica to start where none is warm.

    Raises:
        Misconfigured: If nothing serves.
        Transient: If no replica answers in time.
    """
    endpoint = live_endpoint(platform, profile, require_live(platform, profile.app))
    began_s = time.monotonic()
    await_awake(endpoint, profile.scaling.startup_timeout_s)
    answered = complete_once(endpoint)
    return Warmth(
        release_id=answered,
        took_s=time.monotonic() - began_s,
        cost_per_hour_usd=profile.hardware.cost_per_hour_usd,
        stays_s=float(profile.scaling.scaledown_window_s),
    )
