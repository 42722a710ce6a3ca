"""The job that fetches only what is wrong or missing, another way than the first time, and checks it at once.

A file that comes wrong again is put beside its first copy in quarantine, and ends the job with the evidence: what
was expected, what came each time, and where the two copies first differ.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from slipway.errors import Corrupt
from slipway.platforms.port import JobContext, Progress
from slipway.units import MIB
from slipway.weights import layout
from slipway.weights.damage import newest_quarantined, quarantined_as
from slipway.weights.disk import disk_trouble_told
from slipway.weights.manifest import Manifest, ManifestFile
from slipway.weights.passes import FileVerdict, check_file
from slipway.weights.sync import STALL_S, fetch_missing

BLOCK_BYTES = 64 * MIB


class RepairResult(BaseModel):
    """What was repaired."""

    model_config = ConfigDict(frozen=True)

    repaired: tuple[str, ...] = Field(description="Files that were fetched again, and are right.")
    bytes_fetched: int = Field(description="Their size.")
    seconds: float = Field(description="Wall time.")


@disk_trouble_told
def repair(
    context: JobContext,
    *,
    manifest: dict[str, Any],
    endpoint: str | None,
    token_env: str | None,
    stall_s: float = STALL_S,
) -> dict[str, Any]:
    """Fetch what verification put into quarantine, and whatever else is missing, over plain HTTP, and hash it.

    Args:
        context: With the weights volume freshly mounted for writing as `weights`.
        manifest: What the directory shall hold, as JSON-able data.
        endpoint: Base URL of the Hub; None for the client's default.
        token_env: Environment variable with the token for private and gated repositories.
        stall_s: A fetch that writes nothing for as long is started again.

    Returns:
        A `RepairResult` as JSON-able data. READY is not written: a verification does that.

    Raises:
        Corrupt: If a file is wrong again.
        Misconfigured: If the Hub refuses, or the volume is full or cannot be written.
        Transient: If the network or the Hub fails; what is whole is kept.
    """
    began_s = time.monotonic()
    wanted = Manifest.model_validate(manifest)
    mount = context.mounts[layout.MOUNT]
    model_dir = mount.path / layout.model_path(wanted)
    fetched = fetch_missing(
        context, wanted, endpoint=endpoint, token_env=token_env, transport="http", max_workers=2, stall_s=stall_s
    ).files
    wrong = []
    for number, file in enumerate(fetched):
        context.progress(Progress(number, len(fetched), "files", f"hashing {file.path}"))
        verdict = check_file(model_dir, file, seed=wanted.digest, saw=lambda _count: None)
        if not verdict.right:
            wrong.append(_evidence(model_dir, file, verdict))
    mount.commit()
    if wrong:
        raise _twice_bad(wanted, wrong)
    return RepairResult(
        repaired=tuple(file.path for file in fetched),
        bytes_fetched=sum(file.size_bytes for file in fetched),
        seconds=time.monotonic() - began_s,
    ).model_dump()


def _evidence(model_dir: Path, file: ManifestFile, verdict: FileVerdict) -> str:
    """What is wrong with a file that was fetched again; it goes into quarantine, too."""
    first = newest_quarantined(model_dir, file.path)
    second = quarantined_as(model_dir, file.path)
    (model_dir / file.path).rename(second)
    if first is None:
        return str(verdict)
    offset = first_difference(first, second)
    if offset is None:
        return f"{verdict}; byte for byte what came the first time"
    return f"{verdict}; the two copies first differ in the 64 MiB from byte {offset}"


def first_difference(one: Path, other: Path) -> int | None:
    """Offset of the first block of 64 MiB in which two files differ; None if they do not."""
    with one.open("rb") as first, other.open("rb") as second:
        offset = 0
        while True:
            here, there = first.read(BLOCK_BYTES), second.read(BLOCK_BYTES)
            if here != there:
                return offset
            if not here:
                return None
            offset += len(here)


def _twice_bad(wanted: Manifest, wrong: Sequence[str]) -> Corrupt:
    return Corrupt(
        f"{wanted.repo}@{wanted.commit[:12]} came wrong twice: {'; '.join(wrong)}. Both copies are in quarantine.",
        remedy="Something between here and the Hub changes bytes, or the volume does: try from another network or to "
        "another volume; if both copies are alike, tell the publisher.",
    )
