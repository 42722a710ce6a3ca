"""What a run stands on: the platform of its profile, the Hub it reads from, Slipway's own directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from slipway.errors import Misconfigured
from slipway.platforms.local import LocalPlatform
from slipway.platforms.port import Platform
from slipway.profile import Profile

CHECKPOINT_DIR = Path(str(resources.files("slipway.miniature"))) / "checkpoint"
"""The miniature's weights, as published by its own Hub."""


def home() -> Path:
    """Directory of everything Slipway keeps on this machine: `$SLIPWAY_HOME`, else `~/.slipway`."""
    return Path(os.environ.get("SLIPWAY_HOME") or Path.home() / ".slipway").resolve()


def open_platform(kind: str, profile: Profile | None = None) -> Platform:
    """The platform of that kind.

    Args:
        kind: As profiles name it.
        profile: Whose jobs will be started there, where that is known.

    Raises:
        Misconfigured: If this version of Slipway has none.
    """
    if kind == "local":
        return LocalPlatform(home() / "local")
    if kind == "modal":
        return _open_modal(profile)
    raise Misconfigured(f"There is no platform {kind!r}.", remedy="Use `local` or `modal`.")


def _open_modal(profile: Profile | None) -> Platform:
    # Its client takes most of a second, which releases on this machine need not wait for.
    from slipway.platforms.modal.platform import ModalPlatform  # noqa: PLC0415
    from slipway.stages.jobs import job_kinds  # noqa: PLC0415

    if profile is None:
        return ModalPlatform(home() / "modal")
    platform = ModalPlatform(home() / "modal", jobs=jobs_app_name(profile))
    platform.foresee(job_kinds(platform, profile))
    return platform


def jobs_app_name(profile: Profile) -> str:
    """Name of the app of a profile's jobs, where jobs are functions of an app."""
    return f"{profile.app}-jobs"


@contextmanager
def hub_endpoint(profile: Profile) -> Iterator[str]:
    """Base URL of the profile's Hub; an embedded one lives as long as the block."""
    # A web server and the Hub's client take a third of a second, and much is told without either.
    from huggingface_hub import constants  # noqa: PLC0415

    from slipway.miniature import hub  # noqa: PLC0415

    if profile.model.hub == "embedded":
        with hub.serve(CHECKPOINT_DIR, repo=profile.model.repo) as address:
            yield address.url
    else:
        # Named here once: a job's environment is not this process's.
        yield constants.ENDPOINT if profile.model.hub == "default" else profile.model.hub
