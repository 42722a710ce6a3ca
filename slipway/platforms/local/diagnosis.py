"""What this host has to say of itself before a release: its disk, secrets and volumes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from slipway.platforms.check import Check, Health, Needs
from slipway.platforms.local.credentials import is_known
from slipway.units import GIB, show_bytes

LEAST_ROOM_BYTES: Final = 1 * GIB
"""Below this logs, records and kernels may not find room, whatever the weights take."""

GPUS: Final = Path("/proc/driver/nvidia/gpus")
"""One directory a GPU, by NVIDIA's driver."""


def diagnose(root: Path, needs: Needs) -> Iterator[Check]:
    """Look at the platform below `root`; nothing is made or changed.

    Args:
        root: Directory of everything it keeps.
        needs: What a release asks for.
    """
    yield _disk(root)
    if needs.gpus:
        yield _gpus(needs.gpus)
    for name in needs.secrets:
        yield _secret(root / "secrets", name)
    yield _volumes(root / "volumes", needs.volumes)


def _disk(root: Path) -> Check:
    free_bytes = shutil.disk_usage(root).free
    if not os.access(root, os.W_OK):
        return Check("disk", Health.FAILED, f"{root} cannot be written", "Set SLIPWAY_HOME to a directory of yours.")
    if free_bytes < LEAST_ROOM_BYTES:
        remedy = "Make room: `slipway weights prune` takes old revisions away."
        return Check("disk", Health.WARNING, f"{show_bytes(free_bytes)} are free at {root}", remedy)
    return Check("disk", Health.OK, f"{show_bytes(free_bytes)} are free at {root}")


def _gpus(needed: int) -> Check:
    there = len(list(GPUS.iterdir())) if GPUS.is_dir() else 0
    seen = f"{there} are there; {needed} are held at once while a candidate runs beside the live release"
    if there >= needed:
        return Check("GPUs", Health.OK, seen)
    health = Health.WARNING if 2 * there >= needed else Health.FAILED
    return Check("GPUs", health, seen, "Stop what serves before a release, or use a host with as many.")


def _secret(directory: Path, name: str) -> Check:
    if known := is_known(directory, name):
        return Check(f"secret {name}", Health.OK, known)
    return Check(f"secret {name}", Health.FAILED, "is not set", f"Run again with {name}=… in the environment.")


def _volumes(directory: Path, names: Sequence[str]) -> Check:
    there = [name for name in names if (directory / name).is_dir()]
    seen = f"{len(there)} of {len(names)} are there" + ("" if len(there) == len(names) else "; a run makes the others")
    return Check("volumes", Health.OK, seen)
