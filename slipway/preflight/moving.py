"""How long weights take to come and to be verified, at the rates that a profile's platform has at best and at worst."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Final

from slipway.preflight.range import NONE, Range
from slipway.profile import Profile
from slipway.weights.estimate import Rates, verification

SHARD_BYTES: Final = 5.4e9
"""Of one file, where they cannot be listed: GLM-5.1-FP8 has 756 GB in 141 shards."""

CORE_BYTES_PER_S: Final = (1.5e9, 0.4e9)
"""SHA-256 of one core: `make bench-weights` on one with SHA instructions, and an estimate for one without."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What one platform gives, best and worst.

    Attributes:
        line_bytes_per_s: From the Hub into a volume.
        reads_bytes_per_s: One worker from a volume.
        start_s: From asking for a worker to its first byte.
    """

    line_bytes_per_s: tuple[float, float]
    reads_bytes_per_s: tuple[float, float]
    start_s: tuple[float, float]


PLACES: Final = {
    # Modal says a few hundred MB/s into a volume (30 to 60 minutes for 350 GB at worst), 2.5 GB/s out of one for each
    # container, and its examples 1 GB/s at least.
    "modal": _Place((1e9, 0.3e9), (2.5e9, 1e9), (1.0, 60.0)),
    # Estimates: a line of 10 GBit/s or of 100 MBit/s, an NVMe disk or a rotating one.
    "local": _Place((1.2e9, 12e6), (3e9, 0.15e9), (0.3, 5.0)),
}


def fetching(profile: Profile, size_bytes: float) -> Range:
    """From the first byte asked for to the last one committed; nothing where nothing is missing."""
    place = PLACES[profile.platform]
    if not size_bytes:
        return NONE
    least_s, most_s = (size_bytes / rate + s for rate, s in zip(place.line_bytes_per_s, place.start_s, strict=True))
    return Range(least_s, most_s)


def verifying(profile: Profile, size_bytes: float, files: int | None = None) -> Range:
    """Hashing every byte, on as many workers as the profile says, by the planner's model of it.

    Args:
        profile: Its platform, workers and their cores.
        size_bytes: All files together.
        files: How many; None where they cannot be listed.
    """
    if not size_bytes:
        return NONE
    count = files or math.ceil(size_bytes / SHARD_BYTES)
    workers = profile.weights.verify_workers
    least_s, most_s = (
        verification(int(size_bytes), count, workers=workers, rates=rates).seconds for rates in _rates(profile)
    )
    return Range(least_s, most_s)


def _rates(profile: Profile) -> tuple[Rates, Rates]:
    """Best and worst; in the worst case all workers together read no faster than one."""
    place = PLACES[profile.platform]
    cores = (os.cpu_count() or 1) if profile.platform == "local" else max(int(profile.hardware.job_cpu_cores), 1)
    fast, slow = CORE_BYTES_PER_S
    best, worst = place.reads_bytes_per_s
    soon, late = place.start_s
    return Rates(fast, cores, best, start_s=soon), Rates(slow, cores, worst, volume_bytes_per_s=worst, start_s=late)
