"""The datasets of a profile's accuracy suites: brought to the platform's volume, and from there to this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from slipway.measure.datasets import DATASETS_VOLUME, MOUNT, check_out, datasets_of, missing
from slipway.measure.prompts.dataset import DIRECTORY_VARIABLE
from slipway.platforms.port import Job, Mount, Platform, ProgressSink
from slipway.profile import Profile
from slipway.profile.workloads import DatasetFile
from slipway.stages.machines import helper

SYNC_TIMEOUT_S = 600.0


def sync_datasets(platform: Platform, profile: Profile, *, progress: ProgressSink) -> dict[str, int]:
    """Fetch the datasets that are not in the volume; without any that is missing, nothing is asked of the network.

    Returns:
        How many files were `fetched` and how many `kept`.

    Raises:
        Misconfigured: If the Hub refuses.
        Corrupt: If it sends another file than is pinned.
        Transient: If it cannot be reached.
    """
    files = tuple(dict.fromkeys(datasets_of(profile).values()))
    absent = missing(platform.volume(DATASETS_VOLUME), files) if files else ()
    if not absent:
        return {"fetched": 0, "kept": len(files)}
    done: dict[str, int] = platform.start_job(datasets_job(profile, absent)).wait(
        timeout_s=SYNC_TIMEOUT_S, progress=progress
    )
    return {"fetched": done["fetched"], "kept": done["kept"] + len(files) - len(absent)}


def datasets_job(profile: Profile, files: Sequence[DatasetFile]) -> Job:
    """The job that fetches files of datasets."""
    secret = profile.model.token_secret
    return Job(
        name="datasets",
        function="slipway.measure.datasets:sync",
        arguments={
            "files": [file.model_dump(mode="json") for file in files],
            "endpoint": None if profile.model.hub in {"default", "embedded"} else profile.model.hub,
            "token_env": secret,
        },
        mounts=(Mount(MOUNT, DATASETS_VOLUME, read_only=False),),
        secrets=(secret,) if secret else (),
        resources=helper(profile, "datasets"),
    )


def datasets_mount(profile: Profile) -> tuple[tuple[Mount, ...], dict[str, str]]:
    """What a job that asks a profile's questions needs beside its own: mounts, and the environment that names them."""
    if not datasets_of(profile):
        return (), {}
    return (Mount(MOUNT, DATASETS_VOLUME),), {DIRECTORY_VARIABLE: f"${{{MOUNT}}}"}


@contextmanager
def datasets_here(platform: Platform, profile: Profile) -> Iterator[None]:
    """Have the datasets where this process finds them, as long as the block; fetched first where they are missing."""
    files = tuple(dict.fromkeys(datasets_of(profile).values()))
    if not files:
        yield
        return
    sync_datasets(platform, profile, progress=lambda _progress: None)
    before = os.environ.get(DIRECTORY_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="slipway-datasets-") as directory:
        check_out(platform.volume(DATASETS_VOLUME), files, Path(directory))
        os.environ[DIRECTORY_VARIABLE] = directory
        try:
            yield
        finally:
            os.environ.pop(DIRECTORY_VARIABLE)
            if before is not None:
                os.environ[DIRECTORY_VARIABLE] = before
