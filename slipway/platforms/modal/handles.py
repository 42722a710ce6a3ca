"""Names of things at Modal and where containers see them; the client's objects behind the names.

Everything is looked up in the environment that the client is set to (`MODAL_ENVIRONMENT`): a candidate in another
one would be given new, empty volumes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import Any, Final

import modal

from slipway.platforms.port import Mount

STATE: Final = "slipway-state"
"""The Dict of what changes by the second: phases, progress, calls under way, leases. Entries go after a week."""

RELEASES: Final = "slipway-releases"
"""The volume of what must stay: every deployment's specification, every app's history."""

PORT: Final = 8000
"""Where a server listens in its container."""

SERVE: Final = "serve"
"""The function of a serve app."""

MOUNT_PATHS: Final[Mapping[str, str]] = {"weights": "/model-cache", "kernels": "/dg-cache"}
"""Where containers see the volumes that engines know by path; DeepGEMM's cache has its path in its key."""


def environment() -> str | None:
    """The environment that the client is set to; None for the workspace's default."""
    return modal.config.config.get("environment") or None


def mount_path(name: str) -> str:
    """Where a container sees a mount."""
    return MOUNT_PATHS.get(name, f"/mnt/{name}")


def mount_paths(mounts: Iterable[Mount]) -> dict[str, str]:
    """What `${name}` stands for in a container."""
    return {mount.name: mount_path(mount.name) for mount in mounts}


def volume(name: str) -> modal.Volume:
    """A volume by name, made when it is not there."""
    return _volume(name, environment())


@cache
def _volume(name: str, environment_name: str | None) -> modal.Volume:
    return modal.Volume.from_name(name, environment_name=environment_name, create_if_missing=True)


def mounted(mounts: Iterable[Mount]) -> dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount]:
    """Volumes by path, as a function's definition wants them."""
    return {
        mount_path(mount.name): volume(mount.volume).with_mount_options(read_only=mount.read_only) for mount in mounts
    }


def state() -> Any:
    """The Dict of passing facts."""
    return _state(environment())


@cache
def _state(environment_name: str | None) -> Any:
    return modal.Dict.from_name(STATE, environment_name=environment_name, create_if_missing=True)


def secrets(names: Iterable[str]) -> list[modal.Secret]:
    """One secret for each name, which is also the variable in it."""
    return [modal.Secret.from_name(name, required_keys=[name]) for name in names]
